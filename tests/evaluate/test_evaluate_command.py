import json
import sys

import pytest

from reckoner import cli
from reckoner.evaluate import Report, load_probes
from reckoner.registry import Lineage, Registry
from reckoner.tutor.versions import files, probes_path


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    registry = Registry.open(tmp_path_factory.mktemp("evaluate") / "registry")
    registry.promote(registry.register_pending(files("v0.1.0"), lineage=Lineage()), "v0.1.0")
    return registry.root


@pytest.fixture
def run(capsys, monkeypatch, root):
    monkeypatch.setenv("RECKONER_REGISTRY", str(root))

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["reckoner", "evaluate", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        out, err = capsys.readouterr()
        return exit_.value.code, out, err

    return call


def test_a_registered_version_is_graded_from_the_command_line(run, root, tmp_path):
    code, out, _ = run("v0.1.0", "--limit", 20, "--json", "--out", tmp_path / "report.json")
    assert code == 0
    report = Report.from_json(json.loads(out))
    assert report == Report.from_json(json.loads((tmp_path / "report.json").read_text()))
    assert report.model_digest == Registry.open(root).get("v0.1.0").digest
    assert len(report.outcomes) == 20
    assert report.ece is not None
    assert report.pass_at_k is not None
    assert run("v0.1.0", "--limit", 20, "--json")[1] == out


def test_both_engines_give_the_same_answers(run):
    pytest.importorskip("xllamacpp")
    numpy, llamacpp = (
        Report.from_json(json.loads(run("v0.1.0", "--limit", 20, "--json", "--engine", engine)[1]))
        for engine in ("numpy", "llamacpp")
    )
    assert [outcome.answer for outcome in numpy.outcomes] == [outcome.answer for outcome in llamacpp.outcomes]
    assert len({outcome.answer for outcome in numpy.outcomes}) > 1
    assert numpy.eval_set_hash == llamacpp.eval_set_hash
    assert llamacpp.ece is None


def test_the_table_has_a_row_for_each_slice_asked(run):
    code, out, _ = run("v0.1.0", "--limit", 30, "--by", "tense", "--by", "tense_person")
    report = Report.from_json(json.loads(run("v0.1.0", "--limit", 30, "--json")[1]))
    assert code == 0
    for name, values in report.slices.items():
        for value in values:
            assert (f" {name}: {value} " in out) == (name in ("tense", "tense_person"))
    assert "ECE" in out
    assert "pass@1" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["v0.1.1"], "no version named 'v0.1.1'. Did you mean v0.1.0?"),
        (["v0.1.0", "--by", "tens"], "no slice named 'tens'. Did you mean tense"),
        (["v0.1.0", "--probes", "gone.jsonl"], "no probe file gone.jsonl"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(run, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_an_empty_probe_file_and_a_probe_without_expected_are_named(run, tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    assert "empty.jsonl holds no probe" in run("v0.1.0", "--probes", tmp_path / "empty.jsonl")[2]
    record = load_probes(probes_path())[0].to_json()
    del record["expected"]
    (tmp_path / "lacking.jsonl").write_text(json.dumps(record))
    assert (
        "lacking.jsonl, line 1: the probe has no 'expected'" in run("v0.1.0", "--probes", tmp_path / "lacking.jsonl")[2]
    )


@pytest.mark.parametrize("verb", ["registry", "evaluate"])
def test_the_listing_repeats_the_first_line_of_the_commands_own_help(verb):
    import click

    command = cli.group.get_command(click.Context(cli.group), verb)
    assert command.help.splitlines()[0] == cli.COMMANDS[verb][1]
