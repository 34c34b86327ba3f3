from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reckoner.errors import InputError
from reckoner.simulate import (
    Arrivals,
    closed_loop,
    constant,
    empirical,
    fixed,
    gamma,
    lognormal,
    poisson,
    ramp,
    replay,
    sessions,
)
from reckoner.simulate.schedulers import Continuous, Static

LENGTHS = fixed(100, 10)


@given(st.floats(0.01, 1e4), st.integers(0, 100))
def test_the_same_seed_gives_the_same_arrivals_and_another_seed_does_not(rate, seed):
    one, two = (poisson(rate, LENGTHS, n=50, seed=seed) for _ in range(2))
    assert np.array_equal(one.arrival_s, two.arrival_s)
    assert not np.array_equal(one.arrival_s, poisson(rate, LENGTHS, n=50, seed=seed + 1).arrival_s)


@pytest.mark.parametrize("cv", [0.0, 0.5, 1.0, 3.0])
def test_gaps_have_the_rate_and_the_spread_that_were_asked_for(cv):
    gaps = np.diff(gamma(5.0, LENGTHS, n=200_000, seed=1, cv=cv).arrival_s)
    assert gaps.mean() == pytest.approx(0.2, rel=0.02)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.03, abs=1e-6)


def test_a_ramp_begins_and_ends_at_its_rates():
    times = ramp(10.0, 30.0, LENGTHS, n=200_000, seed=1).arrival_s
    tenth = times[-1] / 10.0
    assert np.count_nonzero(times < tenth) / tenth == pytest.approx(11.0, rel=0.03)
    assert np.count_nonzero(times > 9.0 * tenth) / tenth == pytest.approx(29.0, rel=0.03)


def test_a_metronome_is_even():
    assert np.diff(constant(4.0, LENGTHS, n=9, seed=0).arrival_s) == pytest.approx(0.25)


def test_lognormal_lengths_have_the_mean_and_the_spread_that_were_asked_for():
    prompt, output = lognormal(1000.0, 200.0, prompt_cv=1.0, output_cv=0.5)(np.random.default_rng(1), 300_000)
    assert prompt.mean() == pytest.approx(1000.0, rel=0.02)
    assert prompt.std() / prompt.mean() == pytest.approx(1.0, rel=0.05)
    assert output.mean() == pytest.approx(200.0, rel=0.02)


def test_empirical_lengths_keep_prompt_and_answer_together():
    prompt, output = empirical([1, 2, 3], [10, 20, 30])(np.random.default_rng(0), 1000)
    assert set(zip(prompt.tolist(), output.tolist(), strict=True)) == {(1, 10), (2, 20), (3, 30)}


def test_turns_of_a_session_hold_all_that_was_said_before():
    talk = sessions(1.0, fixed(100, 20), n=3, seed=1, turns=3)
    assert talk.prompt_tokens.reshape(3, 3)[:, 0].tolist() == [100, 220, 340]
    assert talk.cached_tokens.reshape(3, 3)[:, 0].tolist() == [0, 119, 239]
    assert talk.follows.reshape(3, 3)[:, 0].tolist() == [3, 6, -1]


def test_a_load_ten_times_over_has_ten_copies_of_each_request_in_order():
    base = poisson(5.0, lognormal(100.0, 50.0), n=200, seed=1)
    load = base.repeated(10)
    assert sorted(load.prompt_tokens.tolist()) == sorted(base.prompt_tokens.tolist() * 10)
    assert np.all(np.diff(load.arrival_s) >= 0.0)


@pytest.mark.parametrize(
    ("times", "prompt", "output", "said"),
    [
        ([0.0, 2.0, 1.0], [1, 1, 1], [1, 1, 1], r"arrival_s\[2\] is 1, before 2"),
        ([-1.0, 2.0], [1, 1], [1, 1], "arrival_s is -1"),
        ([np.nan, 2.0], [1, 1], [1, 1], r"arrival_s\[0\] is nan"),
        ([0.0, 1.0], [1, 0], [1, 1], r"prompt_tokens\[1\] is 0"),
        ([0.0, 1.0], [1, 1], [1, -3], r"output_tokens\[1\] is -3"),
        ([0.0, 1.0], [1, 1.5], [1, 1], r"prompt_tokens\[1\] is 1.5"),
        ([], [], [], "no arrivals"),
        ([0.0], [1, 2], [1], "prompt_tokens has 2 entries for 1 arrivals"),
    ],
)
def test_bad_arrivals_are_refused_by_field_and_row(times, prompt, output, said):
    with pytest.raises(InputError, match=said):
        Arrivals(arrival_s=np.array(times), prompt_tokens=np.array(prompt), output_tokens=np.array(output))


def test_bad_rates_and_clients_are_refused():
    for call, said in (
        (lambda: poisson(0.0, LENGTHS, n=5, seed=1), "requests_per_s is 0.0"),
        (lambda: poisson(1.0, LENGTHS, n=0, seed=1), "n is 0"),
        (lambda: gamma(1.0, LENGTHS, n=5, seed=1, cv=-1.0), "cv is -1.0"),
        (lambda: closed_loop(6, LENGTHS, n=5, seed=1), "clients is 6"),
        (lambda: fixed(0, 5), "prompt_tokens"),
        (lambda: lognormal(0.5, 5.0), "prompt_mean is 0.5"),
        (lambda: empirical([1], [1, 2]), "1 prompts and 2 answers"),
    ):
        with pytest.raises(InputError, match=said):
            call()


def write(path, rows, kind):
    if kind == "csv":
        with path.open("w", newline="") as out:
            writer = csv.DictWriter(out, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        (
            "azure.csv",
            [
                {"TIMESTAMP": "2023-11-16 18:15:46.6805900", "ContextTokens": 374, "GeneratedTokens": 44},
                {"TIMESTAMP": "2023-11-16 18:15:50.9951690", "ContextTokens": 396, "GeneratedTokens": 109},
            ],
        ),
        (
            "burstgpt.csv",
            [
                {"Timestamp": 5, "Model": "ChatGPT", "Request tokens": 374, "Response tokens": 44},
                {"Timestamp": 9.314579, "Model": "ChatGPT", "Request tokens": 396, "Response tokens": 109},
            ],
        ),
        (
            "mooncake.jsonl",
            [
                {"timestamp": 0, "input_length": 374, "output_length": 44, "hash_ids": [0]},
                {"timestamp": 4314.579, "input_length": 396, "output_length": 109, "hash_ids": [0]},
            ],
        ),
        (
            "ours.jsonl",
            [
                {"arrival_s": 100.0, "prompt_tokens": 374, "output_tokens": 44},
                {"arrival_s": 104.314579, "prompt_tokens": 396, "output_tokens": 109},
            ],
        ),
    ],
)
def test_traces_in_the_columns_of_their_authors_are_read_alike(tmp_path, name, rows):
    found = replay(write(tmp_path / name, rows, name.rpartition(".")[2]))
    assert found.arrival_s == pytest.approx([0.0, 4.314579], abs=1e-6)
    assert (found.prompt_tokens.tolist(), found.output_tokens.tolist()) == ([374, 396], [44, 109])


def test_a_prefix_cache_saves_the_blocks_that_were_seen_before(tmp_path):
    rows = [
        {"timestamp": 0, "input_length": 1100, "output_length": 4, "hash_ids": [0, 1, 2]},
        {"timestamp": 1, "input_length": 1030, "output_length": 4, "hash_ids": [0, 1, 3]},
        {"timestamp": 2, "input_length": 1024, "output_length": 4, "hash_ids": [0, 1]},
    ]
    path = write(tmp_path / "mooncake.jsonl", rows, "jsonl")
    assert replay(path).cached_tokens is None
    assert replay(path, cache_blocks=100).cached_tokens.tolist() == [0, 1024, 1023]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "time,input_tokens\n1,2\n", "no column for arrival, output; found time, input_tokens"),
        ("a.csv", "", "holds no requests"),
        ("a.csv", "arrival_s,input_tokens,output_tokens\n", "holds no requests"),
        ("a.csv", "arrival_s,input_tokens,output_tokens\n1,2\n", "line 2: 2 fields under 3 columns"),
        ("a.csv", "arrival_s,input_tokens,output_tokens\n2,5,5\n1,5,5\n", "row 2: arrives 1 s before"),
        ("a.csv", "arrival_s,input_tokens,output_tokens\n1,5,0\n", "row 1: 5 tokens in and 0 out"),
        ("a.csv", "arrival_s,input_tokens,output_tokens\n1,x,0\n", "input_tokens holds something that is no number"),
        ("a.csv", "arrival_s,input_tokens,output_tokens\n1,nan,2\n", "row 1: input_tokens is nan"),
        ("a.csv", "arrival_s,input_tokens,output_tokens\nsoon,1,2\n", "row 1: 'soon' is neither seconds"),
        ("a.jsonl", '{"arrival_s": 1}\n{oops\n', "line 2"),
        ("a.jsonl", "[1]\n", "line 1: list"),
        ("a.jsonl", '{"arrival_s": 1, "b": 2}\n{"b": 1}\n', "line 2: no arrival_s"),
        ("a.txt", "x", "is a .txt file"),
        ("a.parquet", "x", "is no Parquet file"),
    ],
)
def test_bad_traces_are_refused_by_line_and_column(tmp_path, name, text, said):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        replay(path)
    with pytest.raises(InputError, match="no file"):
        replay(tmp_path / "absent.csv")


def test_requests_without_tokens_can_be_skipped(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("arrival_s,input_tokens,output_tokens\n1,5,0\n2,5,3\n3,4,1\n")
    assert len(replay(path, skip_empty=True)) == 2


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("latin.csv", b"arrival_s,prompt_tokens,output_tokens\n0,1\xff0,5\n", "byte 41 is no UTF-8"),
        ("latin.jsonl", b"\xff\n", "byte 0 is no UTF-8"),
        ("lists.jsonl", b'{"arrival_s": 0, "prompt_tokens": 1, "output_tokens": [1]}\n', "output_tokens holds lists"),
        ("when.jsonl", b'{"arrival_s": [0], "prompt_tokens": 1, "output_tokens": 1}\n', "arrival_s holds lists"),
    ],
)
def test_a_trace_of_other_bytes_or_of_lists_is_refused_by_name(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said):
        replay(tmp_path / name)


def test_a_byte_order_mark_is_no_part_of_a_column(tmp_path):
    (tmp_path / "bom.csv").write_text("\ufeffarrival_s,prompt_tokens,output_tokens\r\n0,10,5\r\n", encoding="utf-8")
    assert len(replay(tmp_path / "bom.csv")) == 1


def test_a_spread_too_small_to_square_is_a_metronome():
    times = gamma(1.0, LENGTHS, n=5, seed=1, cv=1e-300).arrival_s
    assert np.array_equal(times, np.arange(1.0, 6.0))


def test_counts_beyond_any_memory_are_refused():
    for call, said in (
        (lambda: poisson(1.0, LENGTHS, n=10**21, seed=1), "n is 1000"),
        (lambda: Continuous(token_budget=10**21), "token_budget is 1000"),
        (lambda: Static(batch=10**21), "batch is 1000"),
    ):
        with pytest.raises(InputError, match=said):
            call()
