import json
import logging
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from streams import stream

from reckoner.calibrate import journal as journal_module
from reckoner.calibrate.adaptive import AdaptiveCalibrator
from reckoner.calibrate.load import Load
from reckoner.errors import ReckonerError

MODEL = "timmy:v0.1-q4"
VERSION_1 = {
    "version": 1,
    "saved_at": 1_760_000_000.0,
    "models": [
        {
            "model": name,
            "alpha": 0.15,
            "sample_count": n,
            "last_updated": 1_760_000_000.5,
            "ms_per_prompt_token": 0.7,
            "ms_per_completion_token": 21.5,
            "base_overhead_ms": overhead,
            "total_absolute_error_ms": 1234.5,
            "total_predicted_ms": 99_000.0,
        }
        for name, n, overhead in ((MODEL, 42, 512.25), ("llama3-8b-8192", 3, 0.0))
    ],
}


def learn(path: Path, n: int, model: str = MODEL, seed: int = 0) -> AdaptiveCalibrator:
    calibrator = AdaptiveCalibrator(path)
    for request in stream(n, seed=seed):
        calibrator.predict(model, request.prompt, request.completion)
        calibrator.record(model, request.prompt, request.actual_ms, request.completion)
    return calibrator


def count(path: Path, model: str = MODEL) -> int:
    return AdaptiveCalibrator(path).get_stats(model)["sample_count"]


def test_what_was_recorded_is_there_in_the_next_session_to_the_last_bit(tmp_path):
    path = tmp_path / "deep" / "state.json"
    first = learn(path, 150)
    for i in range(20):
        first.predict(MODEL, 500, None, load=Load(waiting=i, kv_use=i / 20))
        first.record(MODEL, 500, 2000.0 + 100 * i, 90)
    second = AdaptiveCalibrator(path)
    assert second.get_stats(MODEL) == first.get_stats(MODEL)
    one, two = (c.predict(MODEL, 777, 77, in_flight=0, load=Load(kv_use=0.7)) for c in (first, second))
    assert (one.predicted_ms, one.low_ms, one.high_ms) == (two.predicted_ms, two.low_ms, two.high_ms)


def test_folding_the_journal_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_module, "FOLD_BYTES", 4000)
    often = learn(tmp_path / "often.json", 150)
    assert json.loads((tmp_path / "often.json").read_text())["generation"] > 3
    monkeypatch.setattr(journal_module, "FOLD_BYTES", 1 << 30)
    never = learn(tmp_path / "never.json", 150)
    for calibrator in (often, AdaptiveCalibrator(tmp_path / "often.json")):
        stats, expected = calibrator.get_stats(MODEL), never.get_stats(MODEL)
        for left_out in ("last_updated", "drifts"):  # clocks
            del stats[left_out], expected[left_out]
        assert stats == expected


def test_without_autosave_nothing_is_written_until_asked(tmp_path):
    path = tmp_path / "state.json"
    calibrator = AdaptiveCalibrator(path, autosave=False)
    calibrator.record(MODEL, 100, 900.0, 10)
    assert list(tmp_path.iterdir()) == []
    calibrator.save()
    assert count(path) == 1


def test_a_reset_holds_in_the_next_session(tmp_path):
    path = tmp_path / "state.json"
    calibrator = learn(path, 5)
    calibrator.record("b", 1, 1.0)
    calibrator.reset(MODEL)
    assert [s["model"] for s in AdaptiveCalibrator(path).all_stats()] == ["b"]
    calibrator.reset()
    assert AdaptiveCalibrator(path).all_stats() == []


def test_a_record_costs_the_same_with_a_thousand_models(tmp_path):
    path = tmp_path / "state.json"
    calibrator = AdaptiveCalibrator(path)
    for i in range(1000):
        calibrator.record(f"model-{i}", 100, 900.0, 10)
    before = path.stat().st_mtime_ns, path.stat().st_ino
    written = journal_of(path).stat().st_size
    for _ in range(20):
        calibrator.record("model-7", 100, 900.0, 10)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
    assert journal_of(path).stat().st_size - written < 20 * 400


def test_a_state_of_version_1_is_taken_over_without_loss(tmp_path):
    path = tmp_path / "calibrator_state.json"
    text = json.dumps(VERSION_1, indent=2)
    path.write_text(text)
    calibrator = AdaptiveCalibrator(path)
    assert calibrator.predict(MODEL, 1000, 100).predicted_ms == pytest.approx(512.25 + 700 + 2150)
    assert calibrator.predict("llama3-8b-8192", 1000, 100).predicted_ms == pytest.approx(0 + 700 + 2150)
    assert calibrator.get_stats(MODEL) | {
        "sample_count": 42, "ms_per_prompt_token": 0.7, "ms_per_completion_token": 21.5, "base_overhead_ms": 512.2,
        "mean_absolute_error_ms": round(1234.5 / 42, 1), "last_updated": 1_760_000_000.5, "status": "calibrated",
    } == calibrator.get_stats(MODEL)  # fmt: skip
    calibrator.record(MODEL, 1000, 3400.0, 100)
    assert count(path) == 43
    AdaptiveCalibrator(path).save()
    assert count(path) == 43
    assert (tmp_path / "calibrator_state.json.v1").read_text() == text


def test_what_version_1_could_not_learn_is_learned_after_the_import(tmp_path):
    path = tmp_path / "s.json"
    path.write_text(json.dumps(VERSION_1))
    calibrator = AdaptiveCalibrator(path, autosave=False)
    for request in stream(200):
        calibrator.record("llama3-8b-8192", request.prompt, request.actual_ms, request.completion)
    stats = calibrator.get_stats("llama3-8b-8192")
    assert stats["ms_per_completion_token"] == pytest.approx(14.0, rel=0.05)
    assert stats["base_overhead_ms"] == pytest.approx(400.0, rel=0.15)


def journal_of(path: Path) -> Path:
    (journal,) = path.parent.glob(path.name + ".journal-*")
    return journal


def damaged(tmp_path: Path) -> list[bytes]:
    return [p.read_bytes() for p in sorted(tmp_path.iterdir()) if ".damaged-" in p.name]


@pytest.mark.parametrize("garbage", [b"", b"not json", b"\x00\xff\xfe" * 50, b"[]", b"{}", b'{"version": 1}', b"null"])
def test_a_garbage_state_is_put_aside_with_one_line(tmp_path, caplog, garbage):
    path = tmp_path / "state.json"
    path.write_bytes(garbage)
    with caplog.at_level(logging.WARNING):
        calibrator = AdaptiveCalibrator(path)
    assert [r.getMessage().count("\n") for r in caplog.records] == [0]
    assert "is kept as state.json.damaged-1, 0 whole models were recovered" in caplog.text
    assert damaged(tmp_path) == [garbage]
    calibrator.record(MODEL, 1, 1.0)
    assert count(path) == 1


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.8, 0.95])
def test_a_truncated_state_gives_back_the_models_that_are_whole(tmp_path, caplog, keep):
    path = tmp_path / "state.json"
    calibrator = AdaptiveCalibrator(path)
    for i in range(10):
        for _ in range(3):
            calibrator.record(f"m{i}", 100, 900.0, 10)
    calibrator.save()
    raw = path.read_bytes()
    path.write_bytes(raw[: int(keep * len(raw))])
    recovered = AdaptiveCalibrator(path)
    names = [stats["model"] for stats in recovered.all_stats()]
    assert names == [f"m{i}" for i in range(len(names))]
    assert len(names) >= int(10 * keep) - 1
    assert all(stats["sample_count"] == 3 for stats in recovered.all_stats())
    assert f"{len(names)} whole models were recovered" in caplog.text
    assert AdaptiveCalibrator(path).all_stats() == recovered.all_stats()


def test_a_truncated_state_of_version_1_gives_back_its_whole_models(tmp_path, caplog):
    path = tmp_path / "state.json"
    text = json.dumps(VERSION_1, indent=2)
    path.write_text(text[: text.index("llama3")])
    assert [stats["model"] for stats in AdaptiveCalibrator(path).all_stats()] == [MODEL]
    assert "1 whole models were recovered" in caplog.text


def test_a_state_from_the_future_is_put_aside_and_named(tmp_path, caplog):
    path = tmp_path / "state.json"
    path.write_text(json.dumps({"version": 9, "models": [{"model": "x", "shape": "unknown"}]}))
    calibrator = AdaptiveCalibrator(path)
    assert calibrator.all_stats() == []
    assert "is of version 9 and this reckoner reads 1 and 2" in caplog.text
    assert len(damaged(tmp_path)) == 1


def test_a_torn_last_record_is_dropped_and_the_next_one_is_whole(tmp_path, caplog):
    path = tmp_path / "state.json"
    learn(path, 20)
    journal = journal_of(path)
    journal.write_bytes(journal.read_bytes()[:-25])
    calibrator = AdaptiveCalibrator(path)
    assert calibrator.get_stats(MODEL)["sample_count"] == 19
    assert "1 damaged lines" in caplog.text
    calibrator.record(MODEL, 1, 1.0)
    assert count(path) == 20


def test_bytes_flipped_in_the_journal_cost_only_their_lines(tmp_path, caplog):
    path = tmp_path / "state.json"
    learn(path, 200)
    journal = journal_of(path)
    raw = bytearray(journal.read_bytes())
    for position in random.Random(3).sample(range(100, len(raw)), 5):
        raw[position] ^= 0x5A
    journal.write_bytes(raw)
    assert 194 <= AdaptiveCalibrator(path).get_stats(MODEL)["sample_count"] < 200
    assert "damaged lines" in caplog.text
    assert damaged(tmp_path) == [bytes(raw)]


def test_a_journal_already_folded_is_not_counted_twice_and_not_written_to_again(tmp_path):
    path = tmp_path / "state.json"
    calibrator = learn(path, 30)
    other = AdaptiveCalibrator(path)
    other.record(MODEL, 1, 1.0)
    past = journal_of(path)
    content = past.read_bytes()
    calibrator.save()
    past.write_bytes(content)  # as if the process had died before it tidied up
    assert count(path) == 31
    other.record(MODEL, 1, 1.0)
    assert count(path) == 32


def test_a_state_deleted_in_use_is_written_again(tmp_path):
    path = tmp_path / "state.json"
    calibrator = learn(path, 10)
    for file in tmp_path.iterdir():
        file.unlink()
    calibrator.record(MODEL, 1, 1.0)
    assert count(path) == 11


def test_a_full_disk_is_told_and_nothing_is_learned(tmp_path, monkeypatch):
    path = tmp_path / "state.json"
    calibrator = learn(path, 5)
    journal = journal_of(path)
    before, stats = journal.read_bytes(), calibrator.get_stats(MODEL)
    real = os.write
    monkeypatch.setattr(journal_module.os, "write", lambda handle, data: real(handle, data[: len(data) // 2]))
    with pytest.raises(ReckonerError, match="disk is full; nothing was recorded"):
        calibrator.record(MODEL, 100, 900.0, 10)
    monkeypatch.undo()
    assert journal.read_bytes() == before
    assert calibrator.get_stats(MODEL) == stats
    calibrator.record(MODEL, 100, 900.0, 10)
    assert count(path) == 6


def test_a_real_full_disk_is_told(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    calibrator = learn(tmp_path / "state.json", 1)
    full = os.open("/dev/full", os.O_WRONLY)
    calibrator._journal._file, held = full, calibrator._journal._file
    try:
        with pytest.raises(ReckonerError, match="nothing was recorded"):
            calibrator.record(MODEL, 100, 900.0, 10)
    finally:
        calibrator._journal._file = held
        os.close(full)


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    calibrator = AdaptiveCalibrator(tmp_path / "file" / "state.json")
    with pytest.raises(ReckonerError, match="choose another state_path"):
        calibrator.record(MODEL, 1, 1.0)
    assert calibrator.get_stats(MODEL)["sample_count"] == 0


def test_a_clock_that_goes_backwards_does_not_turn_back_the_state(tmp_path, monkeypatch):
    clock = iter([2000.0, 1000.0, 500.0])
    calibrator = AdaptiveCalibrator(tmp_path / "s.json", autosave=False)
    monkeypatch.setattr("reckoner.calibrate.adaptive.time.time", lambda: next(clock))
    for _ in range(3):
        calibrator.record(MODEL, 1, 1.0)
    assert calibrator.get_stats(MODEL)["last_updated"] == 2000.0


def _record_many(path: Path, worker: int, n: int) -> None:
    calibrator = AdaptiveCalibrator(path)
    for request in stream(n, seed=worker):
        calibrator.record(f"m{worker % 2}", request.prompt, request.actual_ms, request.completion)


def test_four_processes_lose_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_module, "FOLD_BYTES", 20_000)  # forked children fold into each other's appends
    path, n = tmp_path / "state.json", int(os.environ.get("RECKONER_FAULT_RECORDS", "400"))
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_record_many, args=(path, i, n)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert [count(path, "m0"), count(path, "m1")] == [2 * n, 2 * n]
    assert json.loads(path.read_text())["generation"] > 4
    assert damaged(tmp_path) == []
    AdaptiveCalibrator(path).save()
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".part")] == []


_VICTIM = """
import sys
from reckoner.calibrate import journal
from reckoner.calibrate.adaptive import AdaptiveCalibrator
journal.FOLD_BYTES = 6000
calibrator = AdaptiveCalibrator(sys.argv[1])
n = calibrator.get_stats("m")["sample_count"]
while True:
    calibrator.predict("m", 100, 10)
    calibrator.record("m", 100 + n % 50, 900.0 + n % 70, 10)
    n += 1
    sys.stdout.write(f"{n}\\n")
    sys.stdout.flush()
"""


def test_kill_9_at_random_points_loses_nothing_acknowledged(tmp_path):
    path, runs = tmp_path / "state.json", int(os.environ.get("RECKONER_FAULT_RUNS", "5"))
    rng = random.Random(1)
    for _ in range(runs):
        victim = subprocess.Popen([sys.executable, "-c", _VICTIM, str(path)], stdout=subprocess.PIPE, text=True)
        assert victim.stdout is not None
        said = [victim.stdout.readline()]
        time.sleep(rng.uniform(0.0, 0.08))
        victim.send_signal(signal.SIGKILL)
        said += victim.stdout.read().split("\n")
        victim.wait()
        victim.stdout.close()
        acknowledged = max(int(line) for line in said if line.strip().isdigit())
        assert acknowledged <= count(path, "m") <= acknowledged + 1
    assert damaged(tmp_path) == []
    AdaptiveCalibrator(path).save()
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".part")] == []
