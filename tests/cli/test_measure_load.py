"""How requests come to ``reckoner measure``."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from reckoner.cli._measure_load import Live, bars, open_shape, shape_of
from reckoner.cli.measure import command, met
from reckoner.errors import InputError
from reckoner.measure.fake_server import fake_server
from reckoner.measure.prompts import Counting, prompts_of
from reckoner.quantiles import Percentile
from reckoner.simulate.arrivals import sessions
from reckoner.simulate.lengths import fixed

OPTIONS = {
    "concurrency": None, "rates": "4", "ramp": None, "trace": None, "find_rate": False, "turns": 3, "requests": 5,
    "prompt_tokens": 20, "output_tokens": 10, "think_s": 0.5, "seed": 7, "burst": 1.0,
}  # fmt: skip
COUNTING = Counting(fixed=4.0, per_word=1.0, by="usage")


def test_a_turn_waits_for_the_one_before_and_then_thinks():
    arrivals = sessions(4.0, fixed(20, 10), n=5, seed=7, turns=3, think_s=0.5)
    shape, asked = open_shape(arrivals)
    for row, before in enumerate(shape.follows):
        if before < 0:
            assert asked[row] == (20, 10)
        else:
            assert arrivals.follows[before] == row
            assert shape.arrival_s[row] == arrivals.gap_s[before]
            assert asked[row][0] == asked[before][0] + 30
    assert sum(before < 0 for before in shape.follows) == 5
    assert all(np.isfinite(shape.arrival_s))


def test_a_turn_s_prompt_begins_with_all_of_the_turn_before():
    shape, asked = shape_of(4.0, OPTIONS)
    found = prompts_of(COUNTING, [prompt for prompt, _ in asked], seed=[7, 0], follows=shape.follows)
    for row, before in enumerate(shape.follows):
        assert len(found[row].split()) == asked[row][0] - 4
        if before >= 0:
            assert found[row].startswith(found[before] + " ")
    first = [text.split()[:8] for text, before in zip(found, shape.follows, strict=True) if before < 0]
    assert len({tuple(words) for words in first}) == 5


def test_a_turn_that_is_no_longer_than_the_one_before_has_a_prompt_of_its_own():
    long, short = prompts_of(COUNTING, [30, 20], seed=0, follows=[-1, 0])
    assert (len(long.split()), len(short.split())) == (26, 16)
    assert not long.startswith(short)


def test_runs_share_no_prompt_and_a_seed_brings_them_back():
    one, other, again = (prompts_of(COUNTING, [40] * 20, seed=[3, run]) for run in (0, 1, 0))
    assert one == again
    assert not {tuple(text.split()[:8]) for text in one} & {tuple(text.split()[:8]) for text in other}


def test_turns_take_a_rate():
    with pytest.raises(InputError, match="--turns takes --rate"):
        shape_of(None, OPTIONS | {"rates": None})


def percentile(value, low, high):
    return Percentile(value=value, n=600, low=low, high=high, independent=600.0)


@pytest.mark.parametrize(
    ("tail", "verdict"),
    [
        (percentile(0.4, 0.3, 0.45), True),
        (percentile(0.7, 0.6, 0.8), False),
        (percentile(0.5, 0.4, 0.6), None),
        (percentile(0.4, 0.3, float("inf")), True),
        (percentile(0.6, 0.3, float("inf")), None),
        (None, None),
    ],
)
def test_a_promise_is_kept_broken_or_not_to_be_told(tail, verdict):
    assert met({"ttft": tail}, {"ttft": 0.5}) is verdict
    kept = percentile(0.1, 0.1, 0.1)
    assert met({"ttft": tail, "tpot": kept}, {"ttft": 0.5, "tpot": 0.5}) is verdict


def test_conversations_are_driven_turn_after_turn():
    with fake_server() as url:
        found = CliRunner().invoke(
            command,
            [url, "--served", "ttft=0.004,itl=0.001", "--rate", "40", "--turns", "3", "-n", "6", "--output", "3",
             "--prompt", "40", "--no-check-client", "--json"],
            catch_exceptions=False, standalone_mode=False,
        )  # fmt: skip
    document = json.loads(found.stdout.strip().splitlines()[-1])
    assert (document["requests"], document["answered"]) == (18, 18)
    assert document["prompt_tokens"]["asked"] == 40 + 43
    assert isinstance(document["seed"], int)


def test_the_line_says_where_the_run_stands():
    live = Live(10, None)
    live.firsts, live.gaps, live.done = [1.0, 2.0], [0.5], 3
    line = live.line(live.began + 1.0, 4)
    assert line.startswith("3/10 answered, 4 in flight, 3/s, 0 failed  TTFT 1 ")
    assert line.endswith("ITL " + bars([0.5]) + " ms")
    assert bars([]) == "-"


def test_the_line_takes_no_role_for_a_token():
    from types import SimpleNamespace

    live = Live(1, None)
    reads = [b"HTTP/1.1 200 OK\r\n", b'{"delta": {"role": "assistant", "content": ""}}', b'{"delta":{"content":"a"}}',
             b'{"delta":{"content":"b"}}', b'{"delta":{"content":"c"}}', b"[DONE]"]  # fmt: skip
    live.see(
        SimpleNamespace(
            state="", why="", head=SimpleNamespace(status=200), sent_ns=0, reads=reads,
            user_ns=[1_000_000, 2_000_000, 50_000_000, 60_000_000, 70_000_000, 71_000_000],
        ), 0,
    )  # fmt: skip
    assert live.firsts == [50.0]
    assert live.gaps == [10.0]


@pytest.mark.parametrize(
    "how",
    [("--trace", "trace.csv"), ("--ramp", "40:80", "-n", "3"), ("--rate", "60", "-n", "3"), ("-c", "2", "-n", "3")],
)
def test_every_way_in_which_requests_come_is_driven(how, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trace.csv").write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:17:03.0,40,2\n2023-11-16 18:17:03.1,50,3\n2023-11-16 18:17:03.2,60,4\n"
    )
    with fake_server() as url:
        found = CliRunner().invoke(
            command,
            [url, "--served", "ttft=0.004,itl=0.001", *how, "--output", "3", "--no-check-client", "--json"],
            catch_exceptions=False, standalone_mode=False,
        )  # fmt: skip
    document = json.loads(found.stdout.strip().splitlines()[-1])
    assert (document["answered"], document["failed"]) == (3, {})
    if how[0] == "--trace":
        assert document["prompt_tokens"]["asked"] == 50.0
        assert document["asked_per_s"] == pytest.approx(10.0)
