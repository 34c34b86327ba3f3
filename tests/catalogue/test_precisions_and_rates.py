"""Number formats with their scales, and prices with their dates."""

import math
from dataclasses import replace
from datetime import date

import pytest

from reckoner.catalogue import find
from reckoner.catalogue.rate import load_rates
from reckoner.errors import InputError, MissingFigureError, UnknownNameError


@pytest.mark.parametrize(
    ("name", "bytes_per_element"),
    [
        ("fp32", 4),
        ("bf16", 2),
        ("fp8", 1),
        ("q8_0", 34 / 32),
        ("q4_0", 18 / 32),
        ("q4_k", 144 / 256),
        ("q6_k", 210 / 256),
        ("iq4_xs", 136 / 256),
        ("mxfp4", 17 / 32),
        ("nvfp4", 9 / 16),
        ("int4", (64 + 2 + 0.5) / 128),
        ("q4_k_m", 4.8944 / 8),
    ],
)
def test_formats_take_the_bytes_of_their_blocks(name, bytes_per_element):
    assert find.precision(name).bytes_per_element == pytest.approx(bytes_per_element, rel=1e-6)


def test_a_ternary_weight_is_never_smaller_than_its_information():
    assert find.precision("ternary").bytes_per_element > math.log2(3) / 8


@pytest.mark.parametrize("name", find.precisions())
def test_every_format_has_a_source_and_a_date_and_its_aliases_find_it(name):
    precision = find.precision(name)
    assert precision.source
    assert isinstance(precision.checked, date)
    assert all(find.precision(alias) == precision for alias in precision.aliases)


def test_weight_only_int4_is_multiplied_in_sixteen_bits():
    assert find.precision("w4a16").compute[0] == "fp16"
    assert "int4" not in find.precision("int4").compute


def test_a_format_that_contradicts_itself_is_refused():
    with pytest.raises(InputError, match="bits is 0"):
        replace(find.precision("fp8"), bits=0.0)
    with pytest.raises(InputError, match="compute is"):
        replace(find.precision("fp8"), compute=("fp7",))
    with pytest.raises(InputError, match="overhead_bytes is -1"):
        replace(find.precision("fp8"), overhead_bytes=-1.0)


def test_an_unknown_format_names_near_misses():
    with pytest.raises(UnknownNameError, match=r"Did you mean .*nvfp4"):
        find.precision("nvfp44")


PRICED = [name for name in find.devices() if load_rates(name)]


@pytest.mark.parametrize("device", PRICED)
def test_every_rate_has_a_source_dates_and_finds_itself(device):
    for rate in load_rates(device):
        assert rate.source
        assert date(2025, 1, 1) <= rate.valid_from <= rate.valid_to
        assert find.rate(device, rate.provider, spot=rate.spot) == rate


def test_at_least_fifty_devices_have_a_rate():
    assert len(PRICED) >= 50


def test_without_a_provider_the_middle_of_those_who_rent_it_out_answers():
    offers = sorted(
        rate.usd_per_hour for rate in load_rates("nvidia-h100-sxm") if not rate.spot and rate.provider != "self-hosted"
    )
    assert find.rate("h100").usd_per_hour == offers[(len(offers) - 1) // 2]


def test_owned_hardware_is_marked_as_an_assumption():
    assert find.rate("rtx-4090", "self-hosted").note.startswith("assumption")


def test_an_absent_rate_lists_the_providers_present():
    with pytest.raises(MissingFigureError, match=r"no on-demand rate at aws; present: .*azure"):
        find.rate("mi300x", "aws")
    with pytest.raises(MissingFigureError, match=r"no spot rate; present: none"):
        find.rate("stm32h743", spot=True)


def test_a_rate_that_contradicts_itself_is_refused():
    rate = find.rate("h100")
    with pytest.raises(InputError, match="must be positive and in order"):
        replace(rate, usd_low=rate.usd_per_hour + 1)
    with pytest.raises(InputError, match="is before"):
        replace(rate, valid_to=date(2020, 1, 1))
