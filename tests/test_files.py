import errno
import os

import pytest

from reckoner.errors import DamagedError, InputError, ReckonerError
from reckoner.files import canonical_json, read_json, write_atomic, write_json


def test_a_written_file_reads_back(tmp_path):
    write_json(tmp_path / "a" / "b.json", {"x": [1, 2.5, None, "é"]})
    assert read_json(tmp_path / "a" / "b.json") == {"x": [1, 2.5, None, "é"]}


def test_same_value_same_bytes():
    assert canonical_json({"b": 1, "a": 2}) == canonical_json({"a": 2, "b": 1})


def test_nan_is_refused_by_path():
    with pytest.raises(InputError, match=r"\$\.rows\[1\]\.tpot_s is nan"):
        canonical_json({"rows": [{}, {"tpot_s": float("nan")}]})


@pytest.mark.parametrize("when", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_no_debris(tmp_path, monkeypatch, when):
    target = write_atomic(tmp_path / "kept.txt", "old")

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, when, full)
    with pytest.raises(ReckonerError, match=r"No space left on device.*unharmed"):
        write_atomic(target, "new")
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["kept.txt"]


def test_half_a_surrogate_pair_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match=r"'\\ud800', half a surrogate pair"):
        write_json(tmp_path / "a.json", {"notes": "\ud800"})
    assert list(tmp_path.iterdir()) == []


def test_a_value_nested_too_deeply_is_refused():
    value = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(InputError, match="nested too deeply"):
        canonical_json(value)


@pytest.mark.parametrize("text", ['{"a": 1', "", "NaN", "\x00", "[" * 100_000, '{"a":' * 100_000, r'"\uD800"'])
def test_a_truncated_file_is_named(tmp_path, text):
    path = tmp_path / "half.json"
    path.write_text(text)
    with pytest.raises(DamagedError, match=r"half\.json"):
        read_json(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no file .*gone\.json"):
        read_json(tmp_path / "gone.json")


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_atomic(pipe, "through")
        assert os.read(reader, 100) == b"through"
        assert pipe.is_fifo()
    finally:
        os.close(reader)
