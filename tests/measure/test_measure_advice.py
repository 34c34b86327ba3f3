"""Causes of gaps, the search for a rate, the next point, and what a server says of itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reckoner.catalogue.find import device, model
from reckoner.design import Design, Serving, Workload
from reckoner.errors import InputError
from reckoner.measure.fake_server import fake_server
from reckoner.measure.gap import Compared, Signs, cause
from reckoner.measure.next_point import learned, next_points, slopes
from reckoner.measure.scrape import counters, counters_of, energy_j, over
from reckoner.measure.search import carried
from reckoner.measure.wire.address import address_of
from reckoner.predict.efficiency import PRIOR


def one(metric, ratio, unit="s"):
    return Compared(
        metric=metric, unit=unit, predicted=1.0, predicted_low=0.7, predicted_high=1.4, measured=ratio,
        measured_low=None, measured_high=None,
    )  # fmt: skip


def signs(**changes):
    calm = {"client_bound": "", "coalesced": 0.0, "tokens_per_event": 1.0, "ttft_rises": 1.0, "failed": 0.0}
    return Signs(**(calm | changes))


@pytest.mark.parametrize(
    ("ratios", "changes", "word"),
    [
        ({"ttft_s": 0.05, "tpot_s": 1.0}, {}, "prefix cache"),
        ({"ttft_s": 1.0, "tpot_s": 0.4}, {"tokens_per_event": 3.0}, "speculation"),
        ({"ttft_s": 9.0, "tpot_s": 1.1}, {"ttft_rises": 2.0}, "queueing"),
        ({"ttft_s": 1.0, "tpot_s": 1.0}, {"client_bound": "the client is slow"}, "client bound"),
        ({"ttft_s": 1.0}, {"failed": 0.3}, "failures"),
        ({"ttft_s": 3.0, "tpot_s": 3.0}, {}, "efficiency"),
        ({"ttft_s": 1.1, "tpot_s": 0.9}, {}, ""),
    ],
)
def test_a_gap_gets_its_likeliest_cause(ratios, changes, word):
    found = cause({name: one(name, ratio) for name, ratio in ratios.items()}, signs(**changes))
    assert found.partition(":")[0] == word


def test_slower_and_faster_are_told_apart_for_times_and_rates():
    assert "slower" in cause({"tpot_s": one("tpot_s", 3.0)}, signs())
    assert "slower" in cause({"rate": one("rate", 0.3, "1/s")}, signs())
    assert "faster" in cause({"rate": one("rate", 3.0, "1/s")}, signs())


@given(st.floats(0.01, 1e4), st.floats(0.01, 1e3))
def test_the_search_brackets_the_largest_rate(limit, first):
    if limit < first / 500:
        return
    found = carried(lambda rate: rate <= limit, first)
    assert found.low <= limit < found.high
    assert found.high / found.low <= 1.05 or len(found.tried) == 24


def test_a_search_ends_at_the_most_and_refuses_what_nothing_keeps():
    assert math.isinf(carried(lambda _: True, 1.0, most=10.0).high)
    with pytest.raises(InputError, match="not even"):
        carried(lambda _: False, 1.0)
    with pytest.raises(InputError, match="first is 0"):
        carried(lambda _: True, 0.0)


def test_measuring_never_makes_less_sure():
    rng = np.random.default_rng(0)
    root = rng.standard_normal((4, 4))
    sigma = root @ root.T
    for noise in (0.01, 1.0, 100.0):
        after = learned(sigma, rng.standard_normal((2, 4)), noise)
        assert np.linalg.eigvalsh(sigma - after).min() > -1e-9
        assert np.linalg.eigvalsh(after).min() > -1e-9


def test_one_figure_of_one_unknown_is_the_textbook_update():
    assert learned(np.array([[4.0]]), np.array([[1.0]]), 1.0)[0, 0] == pytest.approx(4.0 / 5.0)


def test_the_next_point_is_near_what_matters():
    design = Design(model=model("llama-3.1-8b"), device=device("h100"), serving=Serving(batch=64.0))
    matters = Workload(prompt_tokens=512.0, output_tokens=128.0)
    places = [(b, Workload(prompt_tokens=p, output_tokens=128.0)) for b in (1.0, 64.0) for p in (16.0, 512.0)]
    found = next_points(design, matters, places)
    assert [p.after for p in found] == sorted(p.after for p in found)
    assert (found[0].batch, found[0].prompt_tokens) == (64.0, 512.0)
    assert all(p.after <= p.before + 1e-12 for p in found)


def test_a_place_that_was_measured_has_less_left_to_tell():
    design = Design(model=model("llama-3.1-8b"), device=device("h100"), serving=Serving(batch=16.0))
    matters = Workload(prompt_tokens=512.0, output_tokens=128.0)
    places = [(b, matters) for b in (1.0, 16.0, 256.0)]
    before = next_points(design, matters, places)
    after = next_points(design, matters, places, measured=[(16.0, matters)])
    here = next(point for point in before if point.batch == 16.0)
    assert after[0].before == pytest.approx(here.after)
    gain = {point.batch: point.before - point.after for point in after}
    assert gain[16.0] < 0.5 * (here.before - here.after)
    twice = next_points(design, matters, places, measured=[(16.0, matters), (1.0, matters)])
    other_way = next_points(design, matters, places, measured=[(1.0, matters), (16.0, matters)])
    assert twice[0].before == pytest.approx(other_way[0].before)  # what is known does not depend on the order


def test_slopes_of_a_memory_bound_step_point_at_the_bandwidth():
    design = Design(model=model("llama-3.1-8b"), device=device("h100"))
    (row,) = slopes(design, Workload(prompt_tokens=128.0, output_tokens=512.0), PRIOR, ("tpot_s",))
    assert -1.0 <= row[0] < -0.5


def test_counters_are_summed_and_a_restart_is_no_difference():
    text = 'vllm:num_preemptions_total{a="1"} 2\nvllm:num_preemptions_total{a="2"} 3\nother 9\nvllm:bad NaN\n'
    assert counters_of(text) == {"preemptions": 5.0}
    assert over({"preemptions": 5.0}, {"preemptions": 9.0}) == {"preemptions": 4.0}
    assert over({"preemptions": 5.0}, {"preemptions": 1.0}) is None
    assert over(None, {"preemptions": 1.0}) is None


@given(st.text(max_size=300))
def test_no_page_of_metrics_brings_the_reader_down(text):
    counters_of(text)


def test_a_server_without_metrics_shows_none():
    with fake_server() as url:
        assert counters(address_of(url)) is None


def test_energy_is_none_where_there_are_no_counters(tmp_path):
    assert energy_j(tmp_path) is None
    package = tmp_path / "intel-rapl:0"
    package.mkdir()
    (package / "energy_uj").write_text("2500000\n")
    assert energy_j(tmp_path) == {"intel-rapl:0": 2.5}


def test_a_search_that_cannot_tell_between_two_rates_ends_with_the_bracket():
    def told(rate):
        return None if 3.0 < rate < 5.0 else rate <= 3.0

    found = carried(told, 2.0)
    assert (found.low, found.high) == (2.0, 8.0)
    assert found.tried[-1] == (4.0, None)


def test_the_server_s_own_counters_name_the_cause():
    fast = {"ttft_s": one("ttft_s", 0.05), "tpot_s": one("tpot_s", 0.4)}
    assert "held 80 % of the prompts" in cause(fast, signs(prefix_hit=0.8))
    assert "30 % of output tokens were drafted" in cause({"tpot_s": one("tpot_s", 0.4)}, signs(accepted=0.3))


def test_a_server_that_speaks_no_http_shows_no_counters():
    import socket
    import threading

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            taken, _ = listener.accept()
            with taken:
                taken.recv(4096)
                taken.sendall(b"gibberish\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert counters(address_of(f"http://127.0.0.1:{listener.getsockname()[1]}")) is None
        thread.join()
