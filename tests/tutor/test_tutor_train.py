# ruff: noqa: E402, since torch must be found or skipped before what needs it is imported
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training is an extra: pip install 'llm-reckoner[train]'")

from reckoner.engines.decoder import DecoderConfig
from reckoner.engines.tokenizer import Tokenizer
from reckoner.files import read_json
from reckoner.tutor.corpus import build, validation
from reckoner.tutor.forms import DATA
from reckoner.tutor.model import Decoder
from reckoner.tutor.recipe import BASE, DRILL
from reckoner.tutor.train import IGNORE, accuracy, batches, compare, greedy_answers, load, train, weights
from reckoner.tutor.versions import files

CONFIG = DecoderConfig.from_mapping(read_json(files("v0.1.0")["config.json"]))
GOLDEN = Path(__file__).parents[1] / "golden" / "tutor_logits.npz"
TOKENIZER = Tokenizer.load(files("v0.1.0")["tokenizer.json"])


@pytest.fixture(scope="module")
def base():
    from safetensors.numpy import load_file

    return load(Decoder(CONFIG, 0), load_file(files("v0.1.0")["model.safetensors"]))


def test_two_short_trainings_give_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr("reckoner.tutor.train.accuracy", lambda *_: 0.0)  # grading is not what is under test
    monkeypatch.setattr("reckoner.tutor.train.slices", lambda *_: {})
    short = [replace(recipe, steps=3, sentences=600) for recipe in (BASE, DRILL)]
    folders = [tmp_path / name / "data" for name in "ab"]
    records = [train(folder, folder.parent / "logits.npz", None, *short) for folder in folders]
    assert records[0] == records[1]
    for path in folders[0].iterdir():
        assert path.read_bytes() == (folders[1] / path.name).read_bytes(), path.name
    assert compare(folders[0]) == ["adapter.safetensors", "base.safetensors", "int8.safetensors"]


def test_the_golden_logits_are_torchs_own(base):
    with np.load(GOLDEN) as stored, torch.no_grad():
        for number in range(2):
            logits = base(torch.from_numpy(stored[f"ids_{number}"])[None])[0].numpy()
            np.testing.assert_allclose(logits, stored[f"base_{number}"], atol=2e-4)


def test_the_recorded_validation_accuracy_is_the_shipped_weights(base):
    recorded = read_json(DATA / "training.json")["v0.1.0"]["validation_accuracy"]
    assert accuracy(base, TOKENIZER, validation()) == pytest.approx(recorded, abs=0.005)  # ties may fall otherwise


def test_batched_greedy_answers_equal_those_of_one_prompt_alone(base):
    prompts = ["walk: yesterday she ", "comer: mañana ella ", "To eat. Last night I "]
    assert greedy_answers(base, TOKENIZER, prompts) == [greedy_answers(base, TOKENIZER, [p])[0] for p in prompts]


def test_an_adapter_that_is_new_changes_nothing():
    model = Decoder(CONFIG, 1)
    ids = torch.tensor([TOKENIZER.encode("walk: ")])
    with torch.no_grad():
        before = model(ids)
        model.add_adapter(8, 16, 1)
        assert torch.equal(model(ids), before)
    assert all("lora_" in name for name, p in model.named_parameters() if p.requires_grad)
    assert weights(model).keys() == CONFIG.tensor_shapes().keys()


def test_a_drills_loss_counts_the_word_and_the_character_that_ends_it():
    recipe = replace(DRILL, batch=4)
    lines = build("drill", 64)
    x, y = next(batches(lines, TOKENIZER, recipe, 0))
    words = {line.word for line in lines}
    for ids, targets in zip(x.tolist(), y.tolist(), strict=True):
        text = TOKENIZER.decode([t for t in targets if t != IGNORE])
        assert text[:-1] in words
        assert text[-1] in " ."
        assert text in TOKENIZER.decode(ids) + "."


def test_a_plain_lines_loss_counts_every_character_and_the_end():
    x, y = next(batches(build("base", 600), TOKENIZER, BASE, 0))
    for ids, targets in zip(x.tolist(), y.tolist(), strict=True):
        kept = [t for t in targets if t != IGNORE]
        assert kept[-1] == TOKENIZER.eos_id
        assert TOKENIZER.decode(kept) == TOKENIZER.decode(ids[: len(kept)])
