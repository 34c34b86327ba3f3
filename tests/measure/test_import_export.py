import json

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from import_runs import SAMPLES, bench, optimum, sample, written
from reckoner.errors import InputError
from reckoner.files import canonical_json
from reckoner.measure.importers.imported import RATES, TIMES, Imported, Load, Request, Statistic
from reckoner.measure.importers.llmd_export import to_report
from reckoner.measure.importers.read import read_results

SCHEMA = jsonschema.Draft202012Validator(
    sample("llmd_report_0.2.1_schema.json"), format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
)
FILES = sorted(path.name for path in SAMPLES.iterdir() if "schema" not in path.name and path.suffix != ".md")


@pytest.mark.parametrize("file", FILES)
def test_every_sample_exports_to_a_report_that_obeys_the_schema(file):
    for run in read_results(SAMPLES / file):
        SCHEMA.validate(to_report(run))


def test_generated_files_export_to_reports_that_obey_the_schema(tmp_path):
    for told in (bench(), optimum()):
        (run,) = read_results(written(tmp_path, told))
        SCHEMA.validate(to_report(run))


def test_what_is_exported_is_read_back(tmp_path):
    (run,) = read_results(SAMPLES / "vllm_bench_serve_0.32_detailed.json")
    (back,) = read_results(written(tmp_path, canonical_json(to_report(run)), "report.json"))
    assert (back.tool, back.completed, back.failed, back.load.concurrency) == ("llm-d-benchmark", 6, 0, 2)
    for metric in ("ttft_s", "tpot_s", "itl_s", "e2e_s", "prompt_tokens", "output_tokens"):
        assert back.statistics[metric].mean == pytest.approx(run.values(metric).mean())
    assert back.rates == pytest.approx(run.rates)


def test_nothing_is_made_up(tmp_path):
    (run,) = read_results(SAMPLES / "inferencex_conc64.json")
    report = to_report(run)
    assert "latency" not in report["results"]["request_performance"]["aggregate"]  # medians alone; a mean is required
    assert "stack" not in report["scenario"]  # no accelerator is named
    assert "rate_qps" not in report["scenario"]["load"]["standardized"]  # all at once is no rate
    with pytest.raises(InputError, match="does not say how many requests"):
        to_report(Imported(tool="x", source="x.json"))


figures = st.floats(0, 1e6)
requests = st.builds(
    Request,
    prompt_tokens=st.none() | st.integers(1, 10**6),
    output_tokens=st.none() | st.integers(0, 10**6),
    ttft_s=st.none() | figures,
    e2e_s=st.none() | figures,
    error=st.none() | st.just("x"),
)


@settings(max_examples=60)
@given(
    st.lists(requests, min_size=1, max_size=5),
    st.dictionaries(st.sampled_from(TIMES), st.builds(Statistic, stated_as=st.just("s"), mean=st.none() | figures)),
    st.dictionaries(st.sampled_from(RATES), figures),
    st.builds(Load, requests_per_s=st.none() | figures, concurrency=st.none() | st.integers(0, 99)),
)
def test_whatever_a_run_states_its_report_obeys_the_schema(told, statistics, rates, load):
    report = to_report(
        Imported(tool="x", digest="ab", requests=tuple(told), statistics=statistics, rates=rates, load=load)
    )
    SCHEMA.validate(json.loads(canonical_json(report)))
