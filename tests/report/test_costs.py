"""COSTS.md: every world's words against its golden file, and the command that writes them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from worlds import WORLDS, usual

from reckoner.cli.cpqu import command
from reckoner.errors import DamagedError, InputError, MixedSetsError, ReckonerError
from reckoner.files import write_json
from reckoner.finops.inputs import parse_inputs
from reckoner.finops.table import derive
from reckoner.report.costs import costs_markdown, derive_files, stale_files, write_costs
from reckoner.report.costs_words import caveat

GOLDEN = Path(__file__).parents[1] / "golden" / "finops"


@pytest.mark.parametrize("name", WORLDS)
def test_the_words_fit_every_outcome(name):
    """After a wanted change: python tests/report/golden_costs.py, then read the difference."""
    assert costs_markdown(derive(parse_inputs(WORLDS[name]()))) == (GOLDEN / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", WORLDS)
def test_each_version_has_one_row_that_begins_with_its_eight_digits(name):
    text = costs_markdown(derive(parse_inputs(WORLDS[name]())))
    rows = re.findall(r"^\| `([0-9a-f]{8})` \|", text, re.MULTILINE)
    assert sorted(rows) == sorted(digest[:8] for digest in WORLDS[name]()["models"])
    assert "| SHA (8) | Semver | Conjugation accuracy | $/1k tokens | CpQU | Notes |" in text


@pytest.mark.parametrize("name", WORLDS)
def test_no_sentence_is_left_half_filled(name):
    text = costs_markdown(derive(parse_inputs(WORLDS[name]())))
    for wrong in (r"\bNone\b(?! of| is)", r"\bnan\b", r"\binf\b", "  ", r"\.\.", r" \.", r"\[\]", "True", "False"):
        assert re.search(wrong, text) is None, wrong


def test_the_seeds_own_figures_print_as_the_seed_prints_them():
    content = usual()
    content["rate"]["usd_per_hour"] = 3.6  # so that 1,000 tokens at v tokens/s cost 1/v
    for digest, usd in zip(sorted(content["models"]), (0.0098, 0.0114, 0.0042), strict=True):
        content["models"][digest]["throughput"]["tokens_per_s"] = {"median": 1 / usd, "n": 1}
    text = costs_markdown(derive(parse_inputs(content)))
    assert [row.split(" | ")[3] for row in text.splitlines() if row.startswith("| `")] == [
        "0.00980",
        "0.00420",
        "0.01140",
    ]


def test_each_bucket_that_the_winner_loses_is_named_with_its_items():
    words, table = caveat(derive(parse_inputs(usual())))
    assert "`past_participle` (n = 24, 0.417 against 0.750 of v0.1.0, distinguishable)" in words
    assert [row[:3] for row in table.rows] == [("tense", "past_participle", 24)]


def freeze(folder, content=None):
    write_json(folder / "cost_inputs.json", content or usual())
    return folder


def test_writing_twice_gives_the_same_bytes_and_check_is_content(tmp_path):
    freeze(tmp_path)
    costs = tmp_path / "docs" / "COSTS.md"
    assert len(stale_files(tmp_path, costs)) == 3
    paths = write_costs(tmp_path, costs)
    first = [path.read_bytes() for path in paths]
    assert stale_files(tmp_path, costs) == ()
    assert [path.read_bytes() for path in write_costs(tmp_path, costs)] == first
    assert {path.name for path in paths} == {"cpqu.json", "manifest.json", "COSTS.md"}


def test_any_changed_byte_of_a_derived_file_is_noticed(tmp_path):
    freeze(tmp_path)
    for path in write_costs(tmp_path, tmp_path / "COSTS.md"):
        whole = path.read_bytes()
        path.write_bytes(whole + b" ")
        assert stale_files(tmp_path, tmp_path / "COSTS.md") == (path,)
        path.write_bytes(whole)


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (lambda content: content["rate"].update(usd_per_hour=0), InputError),
        (lambda content: content["rate"].update(usd_per_hour=-1), InputError),
        (lambda content: next(iter(content["models"].values())).pop("throughput"), InputError),
        (lambda content: content.update(eval_set_hash="ef" * 32), MixedSetsError),
    ],
)
def test_bad_inputs_harm_nothing_already_written(damage, kind, tmp_path):
    freeze(tmp_path)
    before = {path: path.read_bytes() for path in write_costs(tmp_path, tmp_path / "COSTS.md")}
    content = usual()
    damage(content)
    freeze(tmp_path, content)
    with pytest.raises(kind) as told:
        write_costs(tmp_path, tmp_path / "COSTS.md")
    assert "\n" not in str(told.value)
    assert {path: path.read_bytes() for path in before} == before


def test_a_truncated_inputs_file_harms_nothing_already_written(tmp_path):
    freeze(tmp_path)
    before = {path: path.read_bytes() for path in write_costs(tmp_path, tmp_path / "COSTS.md")}
    inputs = tmp_path / "cost_inputs.json"
    inputs.write_bytes(inputs.read_bytes()[:1000])
    with pytest.raises(DamagedError, match=r"cost_inputs.json, line \d+"):
        write_costs(tmp_path, tmp_path / "COSTS.md")
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    ("fault", "seen"),
    [(OSError(28, "No space left on device"), ReckonerError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_a_full_disk_or_ctrl_c_while_writing_leaves_the_old_table_whole(fault, seen, tmp_path, monkeypatch):
    freeze(tmp_path)
    before = {path: path.read_bytes() for path in write_costs(tmp_path, tmp_path / "COSTS.md")}
    content = usual()
    content["rate"]["usd_per_hour"] = 0.1
    freeze(tmp_path, content)

    def fail(*_):
        raise fault

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(seen):
        write_costs(tmp_path, tmp_path / "COSTS.md")
    assert {path: path.read_bytes() for path in before} == before
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.parametrize("seed", ["1", "2"])
def test_another_process_with_another_hash_seed_and_locale_gives_the_same_bytes(seed, tmp_path):
    freeze(tmp_path)
    here = derive_files(tmp_path, tmp_path / "COSTS.md")
    code = (
        "import sys; from reckoner.report.costs import write_costs; write_costs(sys.argv[1], sys.argv[1] + '/COSTS.md')"
    )
    surroundings = {**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": "C", "PYTHONUTF8": "0"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=surroundings)
    assert {path: path.read_bytes() for path in here} == {path: text.encode() for path, text in here.items()}


def run(*args):
    return CliRunner().invoke(command, [str(arg) for arg in args], standalone_mode=False)


def test_the_command_writes_once_and_then_checks_clean(tmp_path):
    freeze(tmp_path)
    costs = tmp_path / "docs" / "COSTS.md"
    stale = run(tmp_path, "--costs", costs, "--check")
    assert stale.return_value == 1
    assert not costs.exists()
    done = run(tmp_path, "--costs", costs)
    assert done.return_value == 0
    assert done.stdout.splitlines()[1] == "v0.2.0  e5f6a7b8  accuracy 0.742  CpQU 5.67472e-06"
    assert run(tmp_path, "--costs", costs, "--check").return_value == 0
    assert run(tmp_path, "--costs", costs).stderr == "reckoner: nothing changed\n"


def test_the_command_prints_one_json_document(tmp_path):
    freeze(tmp_path)
    told = json.loads(run(tmp_path, "--json").stdout)
    assert set(told["cpqu"]) == set(usual()["models"])
    assert len(told["stale"]) == 3
    assert (tmp_path / "COSTS.md").exists()


def test_the_help_shows_what_the_command_really_prints(tmp_path):
    freeze(tmp_path)
    printed = run(tmp_path).stdout.splitlines()
    shown = CliRunner().invoke(command, ["--help"]).stdout
    assert all(line in shown for line in printed)


def test_the_command_raises_the_one_line_of_a_bad_input(tmp_path):
    content = usual()
    content["rate"]["usd_per_hour"] = 0
    freeze(tmp_path, content)
    failed = run(tmp_path)
    assert isinstance(failed.exception, InputError)
    assert not (tmp_path / "cpqu.json").exists()
