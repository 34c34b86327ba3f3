"""The committed figures are those that the replay gives, and they hold what was promised."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "validation" / "calibration"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from validation.calibration import page, replay, rivals, streams

    return page, replay, rivals, streams


def results():
    return json.loads((FOLDER / "results.json").read_text())


def test_the_committed_figures_are_those_the_replay_gives(study):
    _, replay, rivals, streams = study
    said = results()["streams"]
    for stream in streams.read_streams():
        for key, kind in (("ours", rivals.Ours), ("seed", rivals.Seed), ("litellm", rivals.LiteLlm)):
            if key != "ours" and stream.source == "aibrix":
                continue  # long, and not ours
            found = replay.summary(replay.replay(stream, kind(stream.model)))
            for figure, value in said[f"{stream.source}/{stream.name}"][key].items():
                same = value is None or found[figure] == pytest.approx(value, rel=1e-3, abs=2e-4)  # other libm
                assert same, (stream.name, key, figure, found[figure], value)


def test_the_page_and_the_table_are_written_from_the_committed_figures(study):
    page, *_ = study
    figures = results()
    assert (FOLDER / "table.md").read_text() == page.table(figures) + "\n"
    written = (ROOT / "docs" / "forecasts.md").read_text()
    words = written[written.index("## A deployment\n\n") + len("## A deployment\n\n") :]
    assert written == page.page(figures, words)
    assert f"{100 * figures['transfer']['prefill_b1']['others']:.0f} |" in words


def test_the_promised_figures_are_met():
    sources = results()["sources"]
    assert sources["llmperf"]["ours"]["mape"] <= 0.14
    assert sources["aibrix"]["ours"]["mape"] <= 0.52
    assert 0.88 <= sources["aibrix"]["ours"]["coverage"] <= 0.92
    for rows in sources.values():
        for key in ("seed", "litellm", "river", "lightgbm"):
            if key in rows:
                assert rows["ours_timed"]["mape"] < rows[key]["mape"], key


def test_the_requests_fit_in_the_tree():
    assert (FOLDER / "data" / "requests.csv.gz").stat().st_size < 1_000_000


def test_the_validation_page_carries_the_study_as_committed():
    from reckoner.cli._validation_requests import requests_of, requests_section

    figures = results()
    section = requests_section(requests_of(ROOT / "validation"))
    assert section in (ROOT / "docs" / "validation.md").read_text()
    row = figures["sources"]["aibrix"]["ours_blind"]
    assert f"reckoner, length unknown | {100 * row['mape']:.1f} | {100 * row['median']:.1f}" in section


def test_a_validation_folder_without_the_study_is_scored_without_it(tmp_path):
    from reckoner.cli._validation_requests import requests_of
    from reckoner.errors import DamagedError

    assert requests_of(tmp_path) is None
    (tmp_path / "calibration").mkdir()
    (tmp_path / "calibration" / "results.json").write_text("{}")
    with pytest.raises(DamagedError, match=r"lacks 'titles'; run python -m validation\.calibration"):
        requests_of(tmp_path)
