from __future__ import annotations

import json
from collections import Counter

import pytest

from reckoner.evaluate.probes import BLANK, Probe
from reckoner.tutor.corpus import fill, held_out, sentences_table
from reckoner.tutor.forms import LANGUAGES, grid, regularised
from reckoner.tutor.probes import build_probes, jsonl, throughput_prompts
from reckoner.tutor.versions import probes_path, throughput_path

KEYS = list(Probe.__slots__)  # the key names of seed 000, in its order, and split


@pytest.fixture(scope="module")
def probes():
    return [json.loads(line) for line in probes_path().read_text(encoding="utf-8").splitlines()]


def test_the_shipped_probes_are_what_the_code_makes(probes):
    assert probes_path().read_text(encoding="utf-8") == jsonl(build_probes())
    assert throughput_path().read_text(encoding="utf-8") == jsonl(throughput_prompts(probes))


def test_every_probe_has_the_schemas_keys_and_is_accepted_by_the_grader(probes):
    for probe in probes:
        assert list(probe) == KEYS
        Probe(**{**probe, "candidates": tuple(probe["candidates"])})
        assert 3 <= len(probe["candidates"]) <= 4


def test_ids_and_prompts_are_unique(probes):
    assert len({probe["id"] for probe in probes}) == len({probe["prompt"] for probe in probes}) == len(probes)


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_cell_is_asked_once_in_the_core(probes, language):
    core = [p for p in probes if p["category"] == "core" and p["language"] == language]
    assert [(p["language"], p["verb"], p["tense"], p["person"]) for p in core] == [c.key for c in grid(language)]
    assert [p["expected"] for p in core] == [cell.word for cell in grid(language)]


def test_the_split_says_whether_training_realised_the_cell(probes):
    hidden = held_out("en") | held_out("es")
    for probe in probes:
        key = (probe["language"], probe["verb"], probe["tense"], probe["person"])
        assert (probe["split"] == "held_out") == (key in hidden)


def test_lemma_tense_and_person_stand_before_the_blank(probes):
    cells = {cell.key: cell for language in LANGUAGES for cell in grid(language)}
    for probe in probes:
        cell = cells[probe["language"], probe["verb"], probe["tense"], probe["person"]]
        before = probe["prompt"].split(BLANK)[0]
        table = sentences_table()[cell.language]
        frames = {
            fill(frame, subject, cell.person)
            for frame in table["frames"][cell.tense]["probe"]
            for subject in table["subjects"][cell.person]
        }
        assert before.startswith(cell.verb)
        assert before.split(": ", 1)[1] in frames


def test_adversarial_probes_show_the_overregularised_form_and_offer_it(probes):
    cells = {cell.key: cell for language in LANGUAGES for cell in grid(language)}
    adversarial = [p for p in probes if p["category"] == "adversarial"]
    assert {p["language"] for p in adversarial} == set(LANGUAGES)
    for probe in adversarial:
        wrong = regularised(cells[probe["language"], probe["verb"], probe["tense"], probe["person"]])
        assert wrong in probe["candidates"]
        assert f" {wrong}: " in probe["prompt"]
        assert wrong != probe["expected"]
        assert probe["label"] == "incorrect"
    shown = {c for p in adversarial for c in p["candidates"]}
    assert {"goed", "eated", "escribido"} <= shown


def test_the_throughput_set_is_200_core_prompts_100_of_each_language(probes):
    rows = [json.loads(line) for line in throughput_path().read_text(encoding="utf-8").splitlines()]
    prompts = {p["id"]: p["prompt"].split(BLANK)[0] for p in probes if p["category"] == "core"}
    assert len({row["id"] for row in rows}) == 200
    assert Counter(row["id"][:2] for row in rows) == {"en": 100, "es": 100}
    assert all(row["prompt"] == prompts[row["id"]] for row in rows)
