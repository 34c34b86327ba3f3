import json
import random

import pytest
from graded_by_hand import make_probe

from reckoner.errors import DamagedError, InputError
from reckoner.evaluate import eval_set_hash, load_probes


def line(**changes):
    record = {**make_probe().to_json(), **changes}
    return json.dumps({key: value for key, value in record.items() if value is not ...}, ensure_ascii=False)


def write(tmp_path, *lines):
    path = tmp_path / "probes.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_probes_read_back_as_written(tmp_path):
    probes = (
        make_probe("a"),
        make_probe("b", language="es", prompt="ayer ___ pan.", candidates=("comí", "comió"), expected="comí"),
    )
    path = write(tmp_path, *(json.dumps(probe.to_json()) for probe in probes), "")
    assert load_probes(path) == probes


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"expected": ...}, "the probe has no 'expected'"),
        ({"expected": "goes"}, "expected is 'goes', which is not among the candidates"),
        ({"expected": ""}, "expected is empty"),
        ({"language": "fr"}, "language is 'fr'; use en or es"),
        ({"person": "4sg"}, "person is '4sg'; use 1sg or 2sg or 3sg"),
        ({"tense": None}, "tense is None; write text"),
        ({"category": "easy"}, "category is 'easy'"),
        ({"split": "train"}, "split is 'train'"),
        ({"label": "maybe"}, "label is 'maybe'"),
        ({"prompt": "no blank"}, "prompt has 0 blanks"),
        ({"prompt": "___ and ___"}, "prompt has 2 blanks"),
        ({"prompt": "I ____ home."}, "prompt is 'I ____ home.'; a blank is three underscores"),
        ({"candidates": ["went"]}, "give at least two"),
        ({"candidates": ["went", "went"]}, "all different"),
        ({"candidates": "went"}, "candidates is 'went'; write a list"),
        ({"hint": "x"}, "the probe has a key 'hint'"),
    ],
)
def test_a_bad_probe_is_named_by_file_line_and_key(tmp_path, changes, match):
    path = write(tmp_path, line(id="fine"), line(**changes))
    with pytest.raises(InputError, match=rf"probes\.jsonl, line 2: .*{match}"):
        load_probes(path)


def test_a_duplicate_id_names_both_lines(tmp_path):
    with pytest.raises(InputError, match=r"line 3: id is 'a', as in line 1"):
        load_probes(write(tmp_path, line(id="a"), line(id="b"), line(id="a")))


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_an_empty_probe_file_is_refused(tmp_path, content):
    (tmp_path / "probes.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=r"probes\.jsonl holds no probe"):
        load_probes(tmp_path / "probes.jsonl")


def test_a_missing_probe_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no probe file .*gone\.jsonl"):
        load_probes(tmp_path / "gone.jsonl")


@pytest.mark.parametrize("damage", [lambda b: b[:-20], lambda b: b[:40] + b"\xff" + b[41:], lambda b: b"[1" + b])
def test_a_damaged_probe_file_is_named(tmp_path, damage):
    path = write(tmp_path, line())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DamagedError, match=r"probes\.jsonl.*restore"):
        load_probes(path)


def test_a_line_that_is_no_object_is_refused(tmp_path):
    with pytest.raises(InputError, match="line 1: it holds a list"):
        load_probes(write(tmp_path, "[]"))


def test_the_hash_is_of_content_and_not_of_order(tmp_path):
    probes = [make_probe(f"p{i}") for i in range(20)]
    shuffled = [make_probe(probe.id, candidates=probe.candidates[::-1]) for probe in probes]
    random.Random(0).shuffle(shuffled)
    assert eval_set_hash(shuffled) == eval_set_hash(probes)
    lines = [json.dumps(dict(reversed(probe.to_json().items())), ensure_ascii=False) for probe in shuffled]
    assert eval_set_hash(load_probes(write(tmp_path, *lines))) == eval_set_hash(probes)


@pytest.mark.parametrize(
    "change",
    [{"prompt": "today I ___ home."}, {"expected": "gone"}, {"person": "2sg"}, {"candidates": ("went", "goed")}],
)
def test_the_hash_changes_with_any_content(change):
    assert eval_set_hash([make_probe(**change)]) != eval_set_hash([make_probe()])


def test_an_empty_set_and_a_repeated_id_have_no_hash():
    with pytest.raises(InputError, match="probe set is empty"):
        eval_set_hash([])
    with pytest.raises(InputError, match="id is 'p1' in two probes"):
        eval_set_hash([make_probe(), make_probe()])


def test_the_tutors_own_probe_set_loads():
    versions = pytest.importorskip("reckoner.tutor.versions")
    probes = load_probes(versions.probes_path())
    core = [probe for probe in probes if probe.category == "core"]
    assert {language: sum(p.language == language for p in core) for language in ("en", "es")} == {"en": 300, "es": 300}
