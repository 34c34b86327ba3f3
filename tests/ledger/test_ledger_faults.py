"""Faults done on purpose: killed writers, many writers, a full disk, files that are no ledgers."""

import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import traceback

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reckoner.errors import DamagedError, InputError, ReckonerError
from reckoner.ledger import Ledger, request
from reckoner.ledger.recover import recover
from reckoner.ledger.segments import history, seal
from reckoner.ledger.verify import verify

PROCESSES, RECORDS = 4, int(os.environ.get("RECKONER_FAULT_RECORDS", "150"))
KILLS = int(os.environ.get("RECKONER_FAULT_KILLS", "6"))

WRITER = textwrap.dedent(
    """
    import sys
    from reckoner.ledger import Ledger, request
    url, who, count, sync = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "sync"
    with Ledger.open(url, sync=sync) as ledger:
        for i in range(count):
            made = ledger.record(request(f"{who}-{i}", model="m", prompt_tokens=i, e2e_s=1.0))
            print(made.seq, made.hash, f"{who}-{i}", flush=True)
    """
)


def start(url, who, count, sync="fast"):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(url), who, str(count), sync], stdout=subprocess.PIPE, text=True
    )


def acknowledged(output):
    """Whole lines that a writer printed: what it was told is kept."""
    return [line.split() for line in output.splitlines(keepends=True) if line.endswith("\n")]


def test_four_processes_on_one_ledger_lose_nothing_and_keep_one_chain(open_ledger, tmp_path, request):
    ledger = open_ledger()
    url = ledger.store._url if ledger.store.dialect == "postgresql" else ledger.store.path
    writers = [start(url, f"w{i}", RECORDS) for i in range(PROCESSES)]
    printed = [writer.communicate(timeout=500)[0] for writer in writers]

    assert [writer.returncode for writer in writers] == [0] * PROCESSES
    kept = {(kept.id.seq, kept.id.hash, kept.body["subject"]) for kept in ledger.entries()}
    told = {(int(seq), found, subject) for output in printed for seq, found, subject in acknowledged(output)}
    assert len(told) == PROCESSES * RECORDS
    assert told == kept
    assert verify(ledger).ok


def test_processes_that_make_the_same_ledger_at_once_make_one(tmp_path):
    for turn in range(3):
        writers = [start(tmp_path / f"{turn}.db", f"w{i}", 1) for i in range(6)]
        for writer in writers:
            writer.communicate(timeout=100)
        assert [writer.returncode for writer in writers] == [0] * 6
        with Ledger.open(tmp_path / f"{turn}.db") as ledger:
            assert len(ledger) == 6


def test_threads_share_a_ledger(open_ledger):
    ledger = open_ledger()

    def write(who):
        for i in range(40):
            ledger.record(request(f"{who}-{i}", model="m", prompt_tokens=i, e2e_s=1.0))

    threads = [threading.Thread(target=write, args=(f"t{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger) == 160
    assert verify(ledger).ok


def test_a_forked_child_writes_through_a_connection_of_its_own(tmp_path):
    ledger = Ledger.open(tmp_path / "l.db", sync=False)
    ledger.observe("parent", {"e2e_s": 1})
    child = multiprocessing.get_context("fork").Process(target=ledger.observe, args=("child", {"e2e_s": 1}))
    child.start()
    child.join()
    ledger.observe("parent", {"e2e_s": 1})
    assert child.exitcode == 0
    assert [kept.body["subject"] for kept in ledger.entries()] == ["parent", "child", "parent"]
    assert verify(ledger).ok
    ledger.close()


def test_a_writer_killed_at_random_loses_nothing_that_it_acknowledged(open_ledger):
    ledger = open_ledger()
    url = ledger.store._url if ledger.store.dialect == "postgresql" else ledger.store.path
    chance = random.Random(11)
    told = set()
    for run in range(KILLS):
        writer = start(url, f"k{run}", 10**6, "sync" if run % 2 else "fast")
        writer.stdout.readline()  # it has begun: the first is kept, later ones are read below
        time.sleep(chance.uniform(0, 0.25))
        writer.send_signal(signal.SIGKILL)
        for seq, found, subject in acknowledged(writer.communicate()[0]):
            told.add((int(seq), found, subject))
    found = verify(ledger)
    kept = {(kept.id.seq, kept.id.hash, kept.body["subject"]) for kept in ledger.entries()}
    assert found.ok, found.problems
    assert told
    assert told <= kept
    ledger.observe("after", {"e2e_s": 1})


def test_a_sealing_killed_at_random_loses_nothing(tmp_path):
    path = tmp_path / "l.db"
    with Ledger.open(path, sync=False) as ledger:
        ledger.record_many(request(f"r{i}", model="m", prompt_tokens=i, e2e_s=1.0) for i in range(3000))
    code = (
        "import sys; from reckoner.ledger import Ledger; from reckoner.ledger import segments\n"
        "segments._ROWS = 100\n"
        "with Ledger.open(sys.argv[1], sync=False) as ledger:\n"
        "    print('begun', flush=True); segments.seal(ledger, upto=3000)"
    )
    chance = random.Random(5)
    for _ in range(max(KILLS // 3, 3)):
        sealer = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
        sealer.stdout.readline()
        time.sleep(chance.uniform(0, 0.4))
        sealer.kill()
        sealer.communicate()
        with Ledger.open(path) as ledger:
            found = verify(ledger)
            assert found.ok, found.problems
            assert found.checked >= 3000


@pytest.fixture
def full(tmp_path):
    """Ledger on a disk that has no page left."""
    ledger = Ledger.open(tmp_path / "l.db")
    ledger.record_many(request(f"r{i}", model="m", prompt_tokens=i, e2e_s=1.0) for i in range(100))
    pages = ledger.store.connection.execute("PRAGMA page_count").fetchone()[0]
    ledger.store.connection.execute(f"PRAGMA max_page_count = {pages}")
    yield ledger
    ledger.close()


def test_a_full_disk_is_said_and_costs_nothing_that_was_kept(full):
    before = len(full)
    with pytest.raises(ReckonerError, match="disk is full; nothing of this write was kept") as said:
        full.record_many(request(f"x{i}", model="m", prompt_tokens=i, e2e_s=1.0) for i in range(50_000))
    assert "\n" not in str(said.value)
    assert len(full) == before
    assert verify(full).ok
    full.store.connection.execute("PRAGMA max_page_count = 1000000")
    full.observe("space again", {"e2e_s": 1})
    assert len(full) == before + 1


def test_a_ledger_is_opened_and_read_without_a_byte_of_room(tmp_path):
    """Found on a full disk: what was set when the file was made must not be asked for again."""
    code = textwrap.dedent(
        """
        import resource, signal, sys
        from reckoner.ledger import Ledger
        from reckoner.ledger.verify import verify
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        held = Ledger.open(sys.argv[1])  # another process has it open, as a service would
        held.observe("b", {"e2e_s": 1})
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        print(verify(Ledger.open(sys.argv[1])).checked)
        """
    )
    path = tmp_path / "l.db"
    with Ledger.open(path) as ledger:
        ledger.observe("a", {"e2e_s": 1})
    told = subprocess.run([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True, check=True)
    assert told.stdout == "2\n"


def test_a_file_that_may_not_grow_is_said_and_costs_nothing(tmp_path):
    """The kernel itself refuses the write, as it does on a full disk."""
    code = textwrap.dedent(
        """
        import resource, signal, sys
        from reckoner.errors import ReckonerError
        from reckoner.ledger import Ledger, request
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with Ledger.open(sys.argv[1]) as ledger:
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
            kept = 0
            try:
                for i in range(10_000):
                    ledger.record_many(request(f"r{i}-{j}", model="m", prompt_tokens=1, e2e_s=1.0) for j in range(20))
                    kept += 20
            except ReckonerError as error:
                print(kept, error)
        """
    )
    path = tmp_path / "l.db"
    told = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True).stdout
    kept, said = told.strip().split(" ", 1)
    assert "nothing of this write was kept" in said
    with Ledger.open(path) as ledger:
        assert len(ledger) == int(kept) > 0
        assert verify(ledger).ok


@pytest.mark.parametrize("content", [b"garbage\n" * 900, b"SQLite format 3\0" + b"\xff" * 5000, b"{}"])
def test_a_garbage_file_is_refused_and_left_as_it_is(tmp_path, content):
    path = tmp_path / "l.db"
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=r"nothing was changed. 'reckoner ledger recover'"):
        Ledger.open(path)
    assert path.read_bytes() == content

    found = recover(path)
    assert (found.kept, found.quarantined.read_bytes()) == (0, content)
    with Ledger.open(path) as ledger:
        ledger.observe("new", {"e2e_s": 1})


def test_another_programs_database_is_left_alone(tmp_path):
    connection = sqlite3.connect(tmp_path / "l.db")
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.commit()
    connection.close()
    before = (tmp_path / "l.db").read_bytes()
    with pytest.raises(InputError, match="another program's"):
        Ledger.open(tmp_path / "l.db")
    with pytest.raises(InputError, match="another program's"):
        recover(tmp_path / "l.db")
    assert (tmp_path / "l.db").read_bytes() == before


def damaged(tmp_path, damage):
    path = tmp_path / "l.db"
    with Ledger.open(path, sync=False) as ledger:
        ledger.record_many(request(f"r{i}", model="m", prompt_tokens=i, e2e_s=1.0) for i in range(500))
        ids = [kept.id for kept in ledger.entries()]
    content = bytearray(path.read_bytes())
    damage(content)
    path.write_bytes(bytes(content))
    return path, ids, bytes(content)


def test_what_is_whole_of_a_cut_off_ledger_is_recovered(tmp_path):
    path, ids, content = damaged(tmp_path, lambda content: content.__delitem__(slice(len(content) // 2, None)))

    found = recover(path)

    assert found.quarantined.read_bytes() == content
    with Ledger.open(path) as ledger:
        assert verify(ledger).ok
        assert [kept.id for kept in ledger.entries()] == ids[: found.kept]
        assert 0 < found.kept < 500
        ledger.observe("goes on", {"e2e_s": 1})
    assert found.kept + found.beyond <= 500


def test_whole_entries_beyond_a_destroyed_page_are_kept_beside(tmp_path):
    import json

    path, ids, _ = damaged(tmp_path, lambda content: content.__setitem__(slice(40960, 45056), b"\0" * 4096))

    found = recover(path)

    with Ledger.open(path) as ledger:
        assert verify(ledger).ok
        assert [kept.id for kept in ledger.entries()] == ids[: found.kept]
    rest = [json.loads(line) for line in found.rest.read_text().splitlines()] if found.rest else []
    assert found.kept + len(rest) > 400
    assert all((row["seq"], row["hash"]) in ids for row in rest)


def test_a_sound_ledger_needs_no_recovery(tmp_path):
    with Ledger.open(tmp_path / "l.db") as ledger:
        ledger.observe("a", {"e2e_s": 1})
    with pytest.raises(InputError, match="sound"):
        recover(tmp_path / "l.db")
    with pytest.raises(InputError, match="no ledger"):
        recover(tmp_path / "none.db")


def test_a_sealed_ledger_is_recovered_with_its_seals(tmp_path):
    path = tmp_path / "l.db"
    with Ledger.open(path, sync=False) as ledger:
        ledger.record_many(request(f"r{i}", model="m", prompt_tokens=i, e2e_s=1.0) for i in range(300))
        seal(ledger, upto=200)
        with ledger.store.write() as execute:
            execute("DROP TRIGGER entries_no_update")
            execute("UPDATE entries SET body = '{}' WHERE seq = 250")
    found = recover(path)
    with Ledger.open(path) as ledger:
        assert not verify(ledger).problems
        assert (found.kept, found.beyond) == (49, 51)
        assert len(ledger) == 250  # and the seal, written again
        assert [kept.body["subject"] for kept in history(ledger)][:200] == [f"r{i}" for i in range(200)]


@pytest.mark.parametrize(
    "url",
    [
        "mysql://me:secret@db/x",
        "postgresql://me:secret@127.0.0.1:1/none?connect_timeout=2",
        "postgresql://me@127.0.0.1:1/none?password=secret&connect_timeout=2",
        "postgresql://me:a@secret@127.0.0.1:1/none?connect_timeout=2",
        "postgresql://me:secret@[bad/x",
        "postgresql://me:secret@127.0.0.1:port/x",
        "postgresql://me:%secret@127.0.0.1:1/x",
    ],
)
def test_an_address_that_is_none_is_said_without_its_password(url):
    from reckoner.calibrate.sql_sources import open_source

    opens = [Ledger.open] if url.startswith("mysql") else [Ledger.open, lambda u: open_source(u, table="t")]
    for open_it in opens:
        with pytest.raises(ReckonerError) as said:
            open_it(url)
        assert "secret" not in "".join(traceback.format_exception(said.value)).replace(repr(url), "")
        assert "secret" not in str(said.value)
        assert "\n" not in str(said.value)


good = st.builds(
    lambda tokens, seconds: {"prompt_tokens": tokens, "e2e_s": seconds}, st.integers(0, 10**9), st.floats(1e-6, 1e6)
)
bad = st.sampled_from(
    [
        {"prompt_tokens": -1, "e2e_s": 1.0},
        {"prompt_tokens": 10**12, "e2e_s": 1.0},
        {"prompt_tokens": True, "e2e_s": 1.0},
        {"prompt_tokens": 1.0, "e2e_s": 1.0},
        {"prompt_tokens": 1, "e2e_s": float("nan")},
        {"prompt_tokens": 1, "e2e_s": float("inf")},
        {"prompt_tokens": 1, "e2e_s": -1.0},
        {"prompt_tokens": 1, "e2e_s": 0.0},
        {"prompt_tokens": 1, "e2e_s": False},
    ]
)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(good, st.just(True)) | st.tuples(bad, st.just(False)), max_size=12))
def test_whatever_is_tried_only_what_was_accepted_is_kept(steps):
    with tempfile.TemporaryDirectory() as folder, Ledger.open(f"{folder}/l.db", sync=False) as ledger:
        for i, (told, fine) in enumerate(steps):
            before = ledger.head()
            if fine:
                ledger.record(request(f"r{i}", model="m", **told))
                assert len(ledger) == before.seq + 1
            else:
                with pytest.raises(ValueError, match=r"prompt_tokens|e2e_s"):
                    ledger.record(request(f"r{i}", model="m", **told))
                assert ledger.head() == before
        assert verify(ledger).ok
        assert [kept.body["figures"]["e2e_s"] for kept in ledger.entries()] == [t["e2e_s"] for t, fine in steps if fine]
