"""The catalogue of devices: every entry sourced, sane and found by each of its names."""

import pickle
from dataclasses import replace
from datetime import date

import pytest

from reckoner.catalogue import find
from reckoner.catalogue._entries import entries
from reckoner.errors import InputError, MissingFigureError, UnknownNameError

ALL = [find.device(name) for name in find.devices()]


def test_there_are_at_least_a_hundred_devices():
    assert len(ALL) >= 100


@pytest.mark.parametrize("device", ALL, ids=lambda device: device.name)
def test_every_device_has_a_source_a_date_and_a_title(device):
    assert device.source
    assert device.title
    assert date(2026, 1, 1) <= device.checked <= date(2026, 12, 31)


@pytest.mark.parametrize("device", ALL, ids=lambda device: device.name)
def test_a_narrower_type_is_never_slower(device):
    peaks = device.peak_flop_per_s
    for wide, narrow in (("fp32", "bf16"), ("fp32", "fp16"), ("bf16", "fp8"), ("fp8", "fp4"), ("int8", "int4")):
        if wide in peaks and narrow in peaks:
            assert peaks[narrow] >= peaks[wide], (wide, narrow)


@pytest.mark.parametrize("device", ALL, ids=lambda device: device.name)
def test_every_alias_finds_its_device(device):
    for alias in device.aliases:
        assert find.device(alias).name == device.name
        assert find.device(alias.upper()).name == device.name


def test_h100_peaks_are_dense():
    assert find.device("h100").peak("bf16") == pytest.approx(989.4e12)
    assert find.device("h100").bandwidth_bytes_per_s == 3.35e12


def test_orin_nx_counts_fifty_dense_int8():
    assert find.device("orin-nx").peak("int8") == 50e12


def test_a17_and_the_cortex_m7_have_the_corrected_figures():
    assert find.device("a17").bandwidth_bytes_per_s == 51.2e9
    m7 = find.device("cortex-m7")
    assert (m7.flash_bytes, m7.memory_bytes) == (2 * 2**20, 2**20)
    assert 0.5e9 <= m7.peak("fp32") <= 1e9


def test_equal_devices_hash_alike():
    h100 = find.device("h100")
    assert hash(replace(h100)) == hash(h100)
    assert len({h100, replace(h100), replace(h100, bandwidth_bytes_per_s=1.0)}) == 2


def test_int4_never_takes_another_types_peak():
    with pytest.raises(MissingFigureError, match=r"no int4 peak; present: .*fp16.*fp8"):
        find.device("h100").peak("int4")


def test_first_peak_says_which_type_it_took():
    int4 = find.precision("int4")
    assert find.device("a100").first_peak(int4.compute) == ("fp16", 312e12)


def test_an_absent_figure_lists_those_present():
    with pytest.raises(MissingFigureError, match=r"no flash_bytes; present: memory_bytes, bandwidth_bytes_per_s, link"):
        find.device("h100").figure("flash_bytes")


def test_an_unknown_device_names_near_misses():
    with pytest.raises(UnknownNameError, match="Did you mean"):
        find.device("nvidia-h1000-sxm")


def test_a_device_that_contradicts_itself_is_refused():
    h100 = find.device("h100")
    with pytest.raises(InputError, match="bandwidth_bytes_per_s is -1"):
        replace(h100, bandwidth_bytes_per_s=-1)
    with pytest.raises(InputError, match="tier is 'moon'"):
        replace(h100, tier="moon")
    with pytest.raises(InputError, match="peak of 'int5'"):
        replace(h100, peak_flop_per_s={"int5": 1.0})


def test_a_device_survives_the_trip_to_another_process():
    h100 = find.device("h100")
    assert pickle.loads(pickle.dumps(h100)) == h100


def test_the_scan_of_names_equals_a_whole_parse():
    import tomllib
    from importlib.resources import files

    whole = {}
    for source in files("reckoner.catalogue").joinpath("data", "devices").iterdir():
        whole.update(tomllib.loads(source.read_text(encoding="utf-8")))
    scanned = entries("device", "devices")
    assert {name: scanned.parse(name) for name in scanned} == whole
