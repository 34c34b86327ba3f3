import json

import pytest
from tiny_models import TOKENIZER

from reckoner.errors import DamagedError, InputError, UnknownNameError
from reckoner.registry import Lineage, Registry


@pytest.fixture
def registry(tmp_path):
    return Registry.open(tmp_path / "registry")


def add(registry, files, semver=None, **kw):
    run = registry.register_pending(files, lineage=Lineage(**kw))
    return registry.promote(run, semver) if semver else registry.get(run)


def test_a_registered_model_waits_without_a_name_and_a_promoted_one_has_it(registry, model):
    waiting = add(registry, model())
    assert (waiting.status, waiting.semvers) == ("pending", ())
    named = registry.promote(waiting.digest, "v0.1.0")
    assert (named.status, named.semvers) == ("promoted", ("v0.1.0",))
    assert [path.name for path in (registry.root / "pending").iterdir()] == []


def test_every_reference_finds_the_same_version(registry, model):
    version = add(registry, model(), "v0.1.0", seed=7, git_sha="abc", hyperparameters={"lr": 0.1})
    refs = ["v0.1.0", version.digest, version.digest[:8], f"run-{version.digest}", f"run-{version.digest[:8]}"]
    assert {registry.get(ref).digest for ref in refs} == {version.digest}
    assert registry.get("v0.1.0") == version
    assert version.lineage.to_json()["hyperparameters"] == {"lr": 0.1}


def test_the_digest_is_over_content_alone(tmp_path, model):
    one = add(Registry.open(tmp_path / "a"), model(), seed=1)
    files = model()
    config = json.loads(files["config.json"].read_text())
    files["config.json"].write_text(json.dumps(dict(reversed(config.items())), indent=7))
    other_registry = Registry.open(tmp_path / "b")
    other = other_registry.get(other_registry.register_pending(files, lineage=Lineage(seed=2), notes="other"))
    assert other.digest == one.digest
    assert add(other_registry, model(1)).digest != one.digest


def test_files_read_back_as_they_were_given(registry, model):
    given = model(0, adapter=3)
    stored = registry.files(add(registry, given))
    assert stored.keys() == given.keys()
    for role in ("model.safetensors", "tokenizer.json", "adapter_model.safetensors"):
        assert stored[role].read_bytes() == given[role].read_bytes()
    assert json.loads(stored["config.json"].read_text()) == json.loads(given["config.json"].read_text())


def test_shared_content_is_stored_once(registry, model):
    base = add(registry, model(), "v0.1.0")
    adapted = add(registry, model(0, adapter=3), "v0.3.0", parent=base.digest)
    assert adapted.files["model.safetensors"] == base.files["model.safetensors"]
    assert len(list((registry.root / "objects").iterdir())) == 5
    assert registry.verify().objects == 5


def test_registering_and_promoting_twice_changes_nothing(registry, model):
    add(registry, model(), "v0.1.0", seed=1)
    before = {path: path.read_bytes() for path in registry.root.rglob("*") if path.is_file()}
    add(registry, model(), "v0.1.0", seed=1)
    assert {path: path.read_bytes() for path in registry.root.rglob("*") if path.is_file()} == before


def test_a_name_never_moves(registry, model):
    add(registry, model(0), "v0.1.0")
    add(registry, model(1), "v0.1.4")
    with pytest.raises(InputError, match=r"v0\.1\.0 already points to .* such as v0\.1\.5"):
        add(registry, model(2), "v0.1.0")
    assert registry.get("v0.1.0").digest == add(registry, model(0)).digest


def test_a_version_may_have_two_names_in_number_order(registry, model):
    add(registry, model(), "v0.10.0")
    assert add(registry, model(), "v0.9.0").semvers == ("v0.9.0", "v0.10.0")


@pytest.mark.parametrize("semver", ["0.1.0", "v0.1", "v01.0.0", "v0.1.0-rc1", "", "v0.1.0 ", "v٠.١.٠"])
def test_a_name_that_is_no_semver_is_refused(registry, model, semver):
    with pytest.raises(InputError, match=r"semver is .*vMAJOR\.MINOR\.PATCH"):
        add(registry, model(), None) and registry.promote(registry.list()[0].digest, semver)


def test_pending_lineage_may_be_corrected_and_a_named_one_never(registry, model):
    add(registry, model(), seed=1)
    assert add(registry, model(), "v0.1.0", seed=2).lineage.seed == 2
    assert add(registry, model(), seed=2).status == "promoted"
    with pytest.raises(InputError, match="registered with seed 2, not 3"):
        add(registry, model(), seed=3)
    with pytest.raises(InputError, match="registered with notes '', not 'x'"):
        registry.register_pending(model(), lineage=Lineage(seed=2), notes="x")


def test_an_unknown_version_is_refused_with_near_misses(registry, model):
    with pytest.raises(UnknownNameError, match="There are none yet"):
        registry.get("v0.1.0")
    version = add(registry, model(), "v0.1.0")
    with pytest.raises(UnknownNameError, match=r"no version named 'v0\.1\.1'. Did you mean v0\.1\.0\?"):
        registry.get("v0.1.1")
    with pytest.raises(InputError, match="at least 8 digits"):
        registry.get(version.digest[:7])
    for ref in ("", "run-", "0" * 64, "../pointers"):
        with pytest.raises(UnknownNameError):
            registry.get(ref)


def test_a_prefix_that_fits_two_versions_is_refused(registry, model, monkeypatch):
    digests = {"a" * 9 + "0" * 55, "a" * 9 + "1" * 55}
    monkeypatch.setattr(Registry, "_digests", lambda _self: digests)
    with pytest.raises(InputError, match=r"fits a{9}0+, a{9}1+; give more digits"):
        registry.get("a" * 8)


def test_a_withdrawn_version_stays_but_is_refused(registry, model):
    add(registry, model(), "v0.1.0")
    gone = registry.tombstone("v0.1.0", "trained on the probes")
    assert (gone.status, gone.tombstone, gone.semvers) == ("tombstoned", "trained on the probes", ("v0.1.0",))
    with pytest.raises(InputError, match=r"v0\.1\.0 .* is tombstoned: 'trained on the probes'"):
        registry.get("v0.1.0")
    assert registry.files(registry.get("v0.1.0", include_tombstoned=True)).keys() >= {"model.safetensors"}
    assert registry.tombstone("v0.1.0", "trained on the probes") == gone
    with pytest.raises(InputError, match="does not change"):
        registry.tombstone("v0.1.0", "another reason")
    with pytest.raises(InputError, match="cannot be registered again"):
        add(registry, model())
    with pytest.raises(InputError, match="tombstoned"):
        registry.promote(gone.digest, "v0.1.1")
    with pytest.raises(InputError, match="say why"):
        registry.tombstone("v0.1.0", " ")


def test_lineage_lists_ancestors_nearest_first(registry, model):
    a = add(registry, model(0), "v0.1.0")
    b = add(registry, model(1), "v0.2.0", parent=a.digest)
    c = add(registry, model(2), parent=b.digest)
    assert [v.digest for v in registry.lineage(c.digest)] == [b.digest, a.digest]
    assert registry.lineage("v0.1.0") == ()


def test_an_unknown_parent_and_a_circle_are_refused(registry, model):
    with pytest.raises(UnknownNameError, match="parent version"):
        add(registry, model(0), parent="0" * 64)
    a = add(registry, model(0))
    b = add(registry, model(1), parent=a.digest)
    for parent in (a.digest, b.digest):
        with pytest.raises(InputError, match="descends from"):
            add(registry, model(0), parent=parent)
    with pytest.raises(InputError, match="whole digest"):
        Lineage(parent=a.digest[:8])


def test_the_lineage_graph_is_the_same_text_each_time_and_shows_what_was_withdrawn(registry, model):
    a = add(registry, model(0), "v0.1.0")
    b = add(registry, model(1), "v0.2.0", parent=a.digest)
    c = add(registry, model(2), parent=a.digest)
    registry.tombstone("v0.2.0", "bad")
    assert registry.lineage_mermaid() == registry.lineage_mermaid()
    nodes = {
        f'  d{a.digest[:16]}["v0.1.0<br/>{a.short}"]',
        f'  d{b.digest[:16]}["v0.2.0<br/>{b.short}<br/>tombstoned"]:::tombstoned',
        f'  d{c.digest[:16]}["{c.short}<br/>pending"]',
    }
    edges = {f"  d{a.digest[:16]} --> d{child.digest[:16]}" for child in (b, c)}
    style = {"graph TD", "  classDef tombstoned stroke-dasharray: 5 5"}
    lines = registry.lineage_mermaid().splitlines()
    assert set(lines) == nodes | edges | style
    assert len(lines) == 7


def test_the_list_goes_by_number_and_then_by_digest(registry, model):
    add(registry, model(0), "v0.10.0")
    add(registry, model(1), "v0.9.0")
    rest = sorted(add(registry, model(seed)).digest for seed in (2, 3))
    assert [v.semvers for v in registry.list()] == [("v0.9.0",), ("v0.10.0",), (), ()]
    assert [v.digest for v in registry.list()[2:]] == rest


def test_a_model_that_no_engine_could_run_is_refused_and_nothing_is_stored(registry, model):
    import numpy as np
    from safetensors.numpy import load_file, save_file

    def refused(change, error, match):
        files = model()
        change(files)
        with pytest.raises(error, match=match):
            add(registry, files)
        assert registry.list() == ()
        assert not (registry.root / "objects").exists()

    def rewrite(name, value):
        def change(files):
            path = files["model.safetensors"]
            save_file({**load_file(path), name: value}, path)

        return change

    def cut(role, size):
        return lambda files: files[role].write_bytes(files[role].read_bytes()[:size])

    nan = np.full(8, np.nan, np.float32)
    refused(rewrite("model.norm.weight", nan), DamagedError, r"model\.norm\.weight holds 8 NaN")
    refused(rewrite("model.norm.weight", np.ones(7, np.float32)), DamagedError, r"model\.norm\.weight has shape \(7,\)")
    refused(cut("model.safetensors", -1), DamagedError, r"model\.safetensors.*truncated")
    refused(cut("model.safetensors", 0), DamagedError, r"model\.safetensors.*truncated")
    refused(cut("config.json", -1), DamagedError, r"config\.json.*truncated")
    refused(cut("tokenizer.json", -1), DamagedError, r"tokenizer\.json.*truncated")
    one_more = {
        **TOKENIZER,
        "tokens": [*TOKENIZER["tokens"], "e"],
        "scores": [0.0] * 264,
        "types": [*TOKENIZER["types"], 1],
    }
    refused(
        lambda files: files["tokenizer.json"].write_text(json.dumps(one_more)), InputError, "has 264 tokens.* is 263"
    )
    refused(lambda files: files.pop("tokenizer.json"), InputError, r"no tokenizer\.json")
    refused(lambda files: files["tokenizer.json"].unlink(), InputError, r"tokenizer\.json.*No such file")
    refused(lambda files: files.update(weights=files["config.json"]), InputError, "role is 'weights'")
    refused(
        lambda files: files.update({"adapter_config.json": files["config.json"]}), InputError, r"without adapter_model"
    )


def test_a_root_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file; give a folder"):
        Registry.open(tmp_path / "file")


def test_an_absent_registry_is_empty_and_reading_it_writes_nothing(tmp_path):
    registry = Registry.open(tmp_path / "absent")
    assert registry.list() == ()
    assert registry.verify().ok
    assert registry.lineage_mermaid() == "graph TD\n"
    assert not (tmp_path / "absent").exists()


def test_a_tuple_among_the_hyperparameters_is_the_list_that_it_reads_back_as(registry, model):
    add(registry, model(), "v0.1.0", hyperparameters={"betas": (0.9, 0.95)})
    assert add(registry, model(), hyperparameters={"betas": (0.9, 0.95)}).lineage.hyperparameters == {
        "betas": [0.9, 0.95]
    }
