import json
from pathlib import Path

import pytest

from reckoner.calibrate.sql_fit import fit
from reckoner.calibrate.sql_readers import Request, read_log
from reckoner.calibrate.sql_sources import memory_source
from reckoner.errors import DamagedError, InputError, UnknownNameError

SAMPLES = Path(__file__).parents[1] / "golden" / "samples"


@pytest.mark.parametrize(
    ("file", "form", "count", "first"),
    [
        (
            "vllm_bench_serve_0.32_detailed.json",
            "vllm",
            6,
            Request("fake", 64, 16, 0.23222565400010353, 0.04758932000004279),
        ),
        ("vllm_rs_bench_0.33_detailed.json", "vllm", 6, Request("fake", 63, 16, 0.213650948, 0.038583024)),
        (
            "guidellm_0.8.1_cut.json",
            "guidellm",
            2,
            Request("fake", 65, 16, 0.23343133926391602, 0.05853772163391113, 1795215360.5095572),
        ),
    ],
)
def test_a_real_result_file_gives_its_requests(file, form, count, first):
    log = read_log(SAMPLES / file)
    assert (log.form, len(log.requests), log.left_out, log.requests[0]) == (form, count, 0, first)


@pytest.mark.parametrize(
    ("file", "form", "count", "first"),
    [
        ("sglang_bench_rust_0.5.23.jsonl", "sglang", 6, Request("m", 63, 16, pytest.approx(0.200986302), 0.05541872)),
        (
            "aiperf_profile_export_first3.jsonl",
            "aiperf",
            3,
            Request(
                "m",
                64,
                16,
                pytest.approx(0.287122132),
                pytest.approx(0.09465792),
                pytest.approx(1795215366.2515, abs=1e-3),
            ),
        ),
        (
            "llmperf_individual_first5.json",
            "llmperf",
            5,
            Request("m", 550, 151, 2.9139140899999916, 0.42822809399999073),
        ),
    ],
)
def test_a_file_that_names_no_model_takes_the_one_given(file, form, count, first):
    log = read_log(SAMPLES / file, model="m")
    assert (log.form, len(log.requests), log.requests[0]) == (form, count, first)
    with pytest.raises(InputError, match="--model"):
        read_log(SAMPLES / file)


def test_times_of_vllm_add_up_to_its_own_latencies():
    told = json.loads((SAMPLES / "vllm_bench_serve_0.32_detailed.json").read_text())
    without = {key: value for key, value in told.items() if key != "latencies"}
    from reckoner.calibrate.sql_readers import FORMS

    pairs = zip(FORMS["vllm"][1]([told]), FORMS["vllm"][1]([without]), strict=True)
    assert all(one.e2e_s == pytest.approx(two.e2e_s, rel=0.02) for one, two in pairs)


def span(**changes):
    attributes = {"gen_ai.request.model": "llama", "gen_ai.usage.input_tokens": 12, "gen_ai.usage.output_tokens": 8}
    attributes |= changes.pop("attributes", {})
    told = {
        "startTimeUnixNano": "1795215365000000000",
        "endTimeUnixNano": "1795215366500000000",
        "attributes": [
            {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
            for key, value in attributes.items()
            if value is not None
        ],
    }
    return {**told, **changes}


def test_spans_with_token_usage_are_requests_and_failed_ones_are_left_out(tmp_path):
    spans = [
        span(),
        span(attributes={"gen_ai.response.model": "llama-3.1"}),
        span(status={"code": 2}),
        span(attributes={"error.type": "timeout"}),
        span(attributes={"gen_ai.usage.input_tokens": None, "gen_ai.usage.output_tokens": None}),
        span(
            attributes={
                "gen_ai.usage.input_tokens": None,
                "gen_ai.usage.output_tokens": None,
                "gen_ai.usage.prompt_tokens": 3,
                "gen_ai.usage.completion_tokens": 4,
            }
        ),
    ]
    line = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]})
    (tmp_path / "spans.jsonl").write_text(line + "\n" + line + "\n")

    log = read_log(tmp_path / "spans.jsonl")

    assert (log.form, log.left_out) == ("otel", 4)
    once = [
        Request(*told, 1.5, None, 1795215366.5) for told in (("llama", 12, 8), ("llama-3.1", 12, 8), ("llama", 3, 4))
    ]
    assert log.requests == tuple(once * 2)


def test_litellm_is_timed_from_start_to_end_and_never_by_response_time(tmp_path):
    streamed = {
        "model": "gpt",
        "prompt_tokens": 10,
        "completion_tokens": 90,
        "startTime": 1000.0,
        "endTime": 1003.0,
        "completionStartTime": 1000.25,
        "response_time": 0.25,
        "status": "success",
    }
    rows = [
        streamed,
        {**streamed, "status": "failure"},
        {**streamed, "cache_hit": True},
        {
            **streamed,
            "startTime": "2026-11-20 10:00:00.500 UTC",
            "endTime": "2026-11-20T10:00:02Z",
            "completionStartTime": None,
        },
    ]
    (tmp_path / "spend.json").write_text(json.dumps(rows))

    log = read_log(tmp_path / "spend.json")

    assert (log.form, log.left_out) == ("litellm", 2)
    assert [one[:5] for one in log.requests] == [("gpt", 10, 90, 3.0, 0.25), ("gpt", 10, 90, 1.5, None)]
    assert [one.finished_at for one in log.requests] == [1003.0, 1795168802.0]


def test_langfuse_generations_are_requests(tmp_path):
    one = {
        "type": "GENERATION",
        "model": "claude",
        "startTime": "2026-11-20T10:00:00.000Z",
        "endTime": "2026-11-20T10:00:04.500Z",
        "completionStartTime": "2026-11-20T10:00:00.500Z",
        "usageDetails": {"input": 100, "output": 50, "total": 150},
        "level": "DEFAULT",
    }
    rows = [
        one,
        {**one, "type": "SPAN"},
        {**one, "level": "ERROR"},
        {**one, "usageDetails": None, "usage": {"input": 1, "output": 2}},
    ]
    (tmp_path / "observations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    log = read_log(tmp_path / "observations.jsonl")

    assert (log.form, log.left_out) == ("langfuse", 1)
    assert [one[:5] for one in log.requests] == [("claude", 100, 50, 4.5, 0.5), ("claude", 1, 2, 4.5, 0.5)]


def test_requests_come_in_the_order_in_which_they_were_finished(tmp_path):
    spans = [span(), span(startTimeUnixNano="1795215360000000000", endTimeUnixNano="1795215361000000000")]
    (tmp_path / "spans.json").write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}))
    assert [one.e2e_s for one in read_log(tmp_path / "spans.json").requests] == [1.0, 1.5]


def test_the_seeds_records_are_read(tmp_path):
    (tmp_path / "x.jsonl").write_text(
        '{"model": "timmy:q4", "prompt_tokens": 512, "completion_tokens": 128, "actual_ms": 3400}\n' * 2
    )
    assert read_log(tmp_path / "x.jsonl").requests == (Request("timmy:q4", 512, 128, 3.4),) * 2


def test_a_read_log_is_fitted():
    log = read_log(SAMPLES / "llmperf_individual_first5.json", model="llama-2-7b")
    (model,) = fit(memory_source((r.model, r.prompt_tokens, r.completion_tokens, r.e2e_s) for r in log.requests)).models
    assert model.forecast(550, 151) == pytest.approx(2.9, rel=0.2)  # five requests against a prior that says 0.2 s


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("", DamagedError, "cut off"),
        ("[]", InputError, "empty"),
        ('{"a": 1}', InputError, "no known form .it begins with a"),
        ('{"resourceSpans": []}\n{"resourceSp', DamagedError, "line 2"),
        ('{"input_lens": [1', DamagedError, "line 1"),
    ],
)
def test_a_file_that_is_no_log_is_refused(tmp_path, content, error, message):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(error, match=message):
        read_log(tmp_path / "x.json")


def test_an_unknown_form_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(InputError, match="no file"):
        read_log(tmp_path / "x.json")
    with pytest.raises(UnknownNameError, match="Did you mean vllm"):
        read_log(SAMPLES / "llmperf_individual_first5.json", form="vlm")
