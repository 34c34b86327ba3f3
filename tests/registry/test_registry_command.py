import json
import sys

import pytest
from tiny_models import write_model

from reckoner import cli
from reckoner.registry import Lineage, Registry


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("RECKONER_REGISTRY", str(tmp_path / "registry"))
    return tmp_path / "registry"


@pytest.fixture
def run(capsys, monkeypatch):
    """Run ``reckoner registry ...`` and return (exit code, stdout, stderr)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["reckoner", "registry", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        out, err = capsys.readouterr()
        return exit_.value.code, out, err

    return call


def test_add_promote_list_show_from_the_command_line(root, run, tmp_path):
    write_model(tmp_path / "model")
    (tmp_path / "lineage.json").write_text(json.dumps({"git_sha": "abc", "hyperparameters": {"steps": 9}}))
    code, out, err = run(
        "add", tmp_path / "model", "--seed", "7", "--notes", "base", "--lineage", tmp_path / "lineage.json"
    )
    run_id = out.strip()
    digest = run_id.removeprefix("run-")
    assert (code, f"registry promote {digest[:8]}" in err) == (0, True)
    assert run("promote", digest[:8], "v0.1.0") == (0, f"v0.1.0 -> {digest}\n", "")
    code, out, _ = run("list", "--json")
    (listed,) = json.loads(out)
    assert listed["lineage"] == {
        "parent": None,
        "corpus_hash": None,
        "hyperparameters": {"steps": 9},
        "seed": 7,
        "git_sha": "abc",
    }
    assert (listed["digest"], listed["semvers"], listed["notes"]) == (digest, ["v0.1.0"], "base")
    assert json.loads(run("show", "v0.1.0", "--json")[1]) == listed
    assert digest[:8] in run("list")[1]
    code, out, _ = run("show", "v0.1.0")
    assert (code, digest in out, "model.safetensors" in out) == (0, True, True)
    assert (
        "already here as v0.1.0"
        in run("add", tmp_path / "model", "--notes", "base", "--seed", 7, "--lineage", tmp_path / "lineage.json")[2]
    )


def test_every_json_answer_is_one_document(root, run, tmp_path):
    write_model(tmp_path / "a", 0)
    write_model(tmp_path / "b", 1)
    for arguments in (
        ["add", tmp_path / "a"],
        ["promote", Registry.open(root).list, "v0.1.0"],
        ["add", tmp_path / "b", "--parent", "v0.1.0"],
        ["list"],
        ["show", "v0.1.0"],
        ["lineage"],
        ["lineage", "v0.1.0"],
        ["verify"],
        ["tombstone", "v0.1.0", "--reason", "old"],
    ):
        code, out, _ = run(*(a()[0].digest if callable(a) else a for a in arguments), "--json")
        assert code == 0
        json.loads(out)


def test_lineage_prints_the_graph_or_the_ancestors(root, run, tmp_path):
    write_model(tmp_path / "a", 0)
    write_model(tmp_path / "b", 1)
    registry = Registry.open(root)
    parent = run("add", tmp_path / "a")[1].strip()
    run("promote", parent, "v0.1.0")
    child = run("add", tmp_path / "b", "--parent", "v0.1.0")[1].strip()
    assert run("lineage")[1] == registry.lineage_mermaid()
    assert run("lineage", child)[1] == f"{parent.removeprefix('run-')}  v0.1.0  promoted\n"


def test_a_tombstone_says_which_names_still_point_there(root, run, tmp_path):
    registry = Registry.open(root)
    registry.promote(registry.register_pending(write_model(tmp_path / "a"), lineage=Lineage()), "v0.1.0")
    code, _, err = run("tombstone", "v0.1.0", "--reason", "trained on the probes")
    assert (code, err) == (0, "still pointing to it: v0.1.0\n")
    assert "tombstoned: trained on the probes" in run("show", "v0.1.0")[1]


def test_verify_exits_1_and_names_the_damaged_file(root, run, tmp_path):
    registry = Registry.open(root)
    registry.promote(registry.register_pending(write_model(tmp_path / "a"), lineage=Lineage()), "v0.1.0")
    assert run("verify")[0] == 0
    stored = registry.files(registry.get("v0.1.0"))["model.safetensors"]
    stored.write_bytes(stored.read_bytes()[:-1])
    code, out, _ = run("verify")
    assert code == 1
    assert out.startswith("model.safetensors of v0.1.0 (")
    code, out, _ = run("verify", "--json")
    assert (code, json.loads(out)["ok"]) == (1, False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "v9.9.9"], "no version named 'v9.9.9'"),
        (["add", "nowhere"], "no model folder nowhere"),
        (["promote", "a1b2c3d4", "1.0"], "semver is '1.0'"),
        (["add", ".", "--lineage", "gone.json"], "no file gone.json"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(root, run, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_a_lineage_file_with_an_unknown_key_is_refused(root, run, tmp_path):
    write_model(tmp_path / "a")
    (tmp_path / "lineage.json").write_text('{"gitsha": "x"}')
    code, _, err = run("add", tmp_path / "a", "--lineage", tmp_path / "lineage.json")
    assert (code, "corpus_hash, hyperparameters, seed, git_sha" in err) == (2, True)


def test_an_empty_registry_says_how_to_begin(root, run):
    code, out, err = run("list")
    assert (code, out, "reckoner registry add FOLDER" in err) == (0, "", True)
