"""Durable ledger records a second, one and four processes, against a plain SQLite insert loop in the same run."""

import os
import subprocess
import sys
import textwrap
import time

import pytest

COUNT = int(os.environ.get("RECKONER_BENCH_RECORDS", "1500"))

OURS = """
from reckoner.ledger import Ledger, request
ledger = Ledger.open(path, sync=sync)
entries = [request(f"{who}-{i}", model="m", prompt_tokens=i, completion_tokens=5, e2e_s=1.0) for i in range(count)]
print("ready", flush=True); sys.stdin.readline()
for entry in entries:
    ledger.record(entry)
"""

BATCHED = OURS.replace(
    "for entry in entries:\n    ledger.record(entry)",
    "for start in range(0, count, 100):\n    ledger.record_many(entries[start:start + 100])",
)

PLAIN = """
import sqlite3
db = sqlite3.connect(path, timeout=60, isolation_level=None)
db.execute("PRAGMA journal_mode = WAL")
db.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
db.execute("CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY, subject TEXT, model TEXT, p INT, c INT, y REAL)")
print("ready", flush=True); sys.stdin.readline()
for i in range(count):
    db.execute("INSERT INTO log (subject, model, p, c, y) VALUES (?, ?, ?, ?, ?)", (f"{who}-{i}", "m", i, 5, 1.0))
"""


def per_second(code, path, *, processes, sync):
    """Rows a second of all writers together, from a common start to the last one's end."""
    given = f"import sys\npath, count, sync, who = {str(path)!r}, {COUNT}, {sync}, sys.argv[1]\n"
    words, pipe = [sys.executable, "-c", given + textwrap.dedent(code)], subprocess.PIPE
    writers = [subprocess.Popen([*words, f"w{i}"], stdin=pipe, stdout=pipe, text=True) for i in range(processes)]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    started = time.perf_counter()
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()
    codes = [writer.wait(timeout=500) for writer in writers]
    took = time.perf_counter() - started
    for writer in writers:
        writer.stdin.close()
        writer.stdout.close()
    assert codes == [0] * processes
    return processes * COUNT / took


@pytest.mark.parametrize("processes", [1, 4])
@pytest.mark.parametrize("sync", [False, True], ids=["survives kill -9", "survives a power cut"])
def test_durable_records_a_second(tmp_path, processes, sync):
    rates = {"ours": [], "ours, batches of 100": [], "plain insert": []}
    for turn in range(3):  # interleaved, so that a slow moment of the disk hits all three
        for name, code in zip(rates, (OURS, BATCHED, PLAIN), strict=True):
            rates[name].append(per_second(code, tmp_path / f"{name}-{turn}.db", processes=processes, sync=sync))
    median = {name: sorted(found)[1] for name, found in rates.items()}
    shown = ", ".join(f"{name} {rate:,.0f}/s" for name, rate in median.items())
    mode, ratio = "FULL" if sync else "NORMAL", median["ours"] / median["plain insert"]
    print(f"\n{processes} processes, {mode}: {shown}; ours / plain {ratio:.2f}")
    # hashing and canonical JSON may cost something, but the ledger stays the same kind of thing as an insert
    assert median["ours"] > 0.1 * median["plain insert"]
