from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from reckoner.engines.decoder import INT8_BLOCK, DecoderConfig
from reckoner.engines.tokenizer import Tokenizer
from reckoner.engines.weights import load, quantise
from reckoner.errors import UnknownNameError
from reckoner.files import read_json
from reckoner.tutor.corpus import build, corpus_hash
from reckoner.tutor.forms import DATA
from reckoner.tutor.recipe import BASE, DRILL, SHAPE, vocabulary
from reckoner.tutor.versions import VERSIONS, files, lineage, notes

CONFIG = DecoderConfig.from_mapping(read_json(files("v0.1.0")["config.json"]))


@pytest.mark.parametrize("semver", VERSIONS)
def test_every_file_of_a_version_is_there_and_its_lineage_is_told(semver):
    roles = {"config.json", "model.safetensors", "tokenizer.json"}
    adapter = {"adapter_config.json", "adapter_model.safetensors"}
    assert set(files(semver)) == (roles | adapter if semver == "v0.3.0" else roles)
    assert all(path.is_file() for path in files(semver).values())
    record = lineage(semver)
    assert set(record) == {"parent", "corpus_hash", "hyperparameters", "seed", "git_sha"}
    assert re.fullmatch("[0-9a-f]{64}", record["corpus_hash"])
    assert re.fullmatch("[0-9a-f]{40}", record["git_sha"])
    assert notes(semver)


def test_the_base_has_no_parent_and_the_others_descend_from_it():
    assert [lineage(semver)["parent"] for semver in VERSIONS] == [None, "v0.1.0", "v0.1.0"]


def test_the_adapted_version_keeps_the_bases_weights_and_adapter_apart():
    assert files("v0.3.0")["model.safetensors"] == files("v0.1.0")["model.safetensors"]


def test_the_recorded_corpora_are_those_that_the_code_makes():
    assert lineage("v0.1.0")["corpus_hash"] == corpus_hash(build("base", BASE.sentences))
    assert lineage("v0.3.0")["corpus_hash"] == corpus_hash(build("drill", DRILL.sentences))


def test_the_recorded_hyperparameters_are_those_of_the_code():
    for semver, recipe in (("v0.1.0", BASE), ("v0.3.0", DRILL)):
        recorded = lineage(semver)["hyperparameters"]
        assert {name: recorded[name] for name in recipe.__slots__} == {n: getattr(recipe, n) for n in recipe.__slots__}
    assert {name: getattr(CONFIG, name) for name in SHAPE} == SHAPE


def test_an_unknown_version_is_refused_with_near_misses():
    with pytest.raises(UnknownNameError, match=r"no tutor version named 'v0\.1\.1'\. Did you mean v0\.1\.0"):
        files("v0.1.1")


def test_base_weights_have_the_configurations_shapes_and_are_finite():
    tensors = load_file(files("v0.1.0")["model.safetensors"])
    assert {name: tensor.shape for name, tensor in tensors.items()} == CONFIG.tensor_shapes()
    assert all(tensor.dtype == np.float32 and np.isfinite(tensor).all() for tensor in tensors.values())


def test_every_matrix_can_be_stored_in_blocks_of_32():
    assert all(shape[1] % INT8_BLOCK == 0 for shape in CONFIG.tensor_shapes().values() if len(shape) == 2)


def test_the_int8_version_is_the_base_quantised():
    stored = load_file(files("v0.2.0")["model.safetensors"])
    made = quantise(load(files("v0.1.0"))).tensors
    assert stored.keys() == made.keys()
    for name, tensor in made.items():
        assert stored[name].dtype == tensor.dtype
        assert np.array_equal(stored[name], tensor), name


def test_the_adapter_has_one_pair_of_peft_matrices_for_every_target_of_every_layer():
    config = read_json(files("v0.3.0")["adapter_config.json"])
    tensors = load_file(files("v0.3.0")["adapter_model.safetensors"])
    expected = {}
    for name, shape in CONFIG.tensor_shapes().items():
        module = name.removesuffix(".weight")
        if module.rsplit(".", 1)[-1] in config["target_modules"]:
            expected[f"base_model.model.{module}.lora_A.weight"] = (config["r"], shape[1])
            expected[f"base_model.model.{module}.lora_B.weight"] = (shape[0], config["r"])
    assert {name: tensor.shape for name, tensor in tensors.items()} == expected
    assert all(np.abs(tensor).max() > 0 for tensor in tensors.values())


@pytest.mark.parametrize("semver", VERSIONS)
def test_the_engines_accept_every_version(semver):
    weights = load(files(semver))
    assert weights.config == CONFIG
    assert (weights.adapter is not None) == (semver == "v0.3.0")


def test_all_versions_together_are_at_most_12_mb():
    assert sum(path.stat().st_size for path in DATA.glob("*.safetensors")) <= 12e6


def test_the_vocabulary_covers_the_corpus_without_bytes():
    table = read_json(files("v0.1.0")["tokenizer.json"])
    texts = [line.text for line in build("base", BASE.sentences)]
    assert set(vocabulary(texts)["tokens"]) <= set(table["tokens"])
    assert CONFIG.vocab_size == Tokenizer(table).vocab_size


def test_the_golden_logits_are_of_these_versions_shape():
    path = Path(__file__).parents[1] / "golden" / "tutor_logits.npz"
    assert path.stat().st_size <= 300e3
    tokenizer = Tokenizer.load(files("v0.1.0")["tokenizer.json"])
    with np.load(path) as stored:
        for number in range(2):
            ids = stored[f"ids_{number}"]
            assert tokenizer.encode(tokenizer.decode(ids.tolist())) == ids.tolist()
            for name in ("base", "int8", "lora"):
                assert stored[f"{name}_{number}"].shape == (len(ids), CONFIG.vocab_size)
                assert np.isfinite(stored[f"{name}_{number}"]).all()
            assert not np.array_equal(stored[f"base_{number}"], stored[f"lora_{number}"])
