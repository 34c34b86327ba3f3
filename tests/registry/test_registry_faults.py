"""What is done to a registry on purpose: changed bytes, a full disk, kill -9, several writers, any order of verbs."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import write_model

from reckoner import lock
from reckoner.errors import DamagedError, InputError, ReckonerError
from reckoner.registry import Lineage, Registry

HERE = Path(__file__).parent


def build(root, folder):
    registry = Registry.open(root)
    base = registry.promote(registry.register_pending(write_model(folder / "a", 0), lineage=Lineage(seed=1)), "v0.1.0")
    adapted = registry.register_pending(write_model(folder / "b", 0, adapter=5), lineage=Lineage(parent=base.digest))
    registry.promote(adapted, "v0.3.0")
    registry.register_pending(write_model(folder / "c", 1), lineage=Lineage(), notes="waiting")
    registry.register_pending(write_model(folder / "d", 2), lineage=Lineage())
    gone = registry.register_pending(write_model(folder / "e", 3), lineage=Lineage())
    registry.tombstone(gone, "bad")
    return registry


def stored(registry):
    return sorted(path for path in registry.root.rglob("*") if path.is_file() and path.name != ".lock")


def test_one_changed_byte_anywhere_in_any_file_is_named(tmp_path):
    registry = build(tmp_path / "registry", tmp_path)
    assert registry.verify().ok
    rng = random.Random(0)
    for path in stored(registry):
        whole = path.read_bytes()
        for position in {0, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(4))}:
            path.write_bytes(
                whole[:position] + bytes([whole[position] ^ (1 << rng.randrange(8))]) + whole[position + 1 :]
            )
            problems = registry.verify().problems
            assert problems, f"byte {position} of {path} was changed unseen"
            assert any(path.name in problem for problem in problems)
        path.write_bytes(whole)
    assert registry.verify().ok


def test_a_missing_and_a_truncated_file_are_named(tmp_path):
    registry = build(tmp_path / "registry", tmp_path)
    for path in stored(registry):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        assert any(path.name in problem for problem in registry.verify().problems)
        path.unlink()
        if path.parent.name in ("objects", "versions"):
            assert any(path.name in problem for problem in registry.verify().problems)
        path.write_bytes(whole)
    assert registry.verify().ok


def test_files_are_refused_by_role_path_and_both_digests(tmp_path):
    registry = build(tmp_path / "registry", tmp_path)
    version = registry.get("v0.3.0")
    for role, path in registry.files(version).items():
        whole = path.read_bytes()
        path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
        expected = version.files[role].sha256[:12]
        with pytest.raises(
            DamagedError, match=rf"{role} of v0\.3\.0 .*{path.name} is damaged: expected digest {expected}"
        ):
            registry.files(version)
        with pytest.raises(DamagedError, match=role):
            registry.promote("v0.3.0", "v0.3.1")
        path.write_bytes(whole)


def test_a_damaged_waiting_record_does_not_stop_the_named_versions(tmp_path):
    registry = build(tmp_path / "registry", tmp_path)
    waiting = next((registry.root / "pending").glob("*.json"))
    waiting.write_text("{")
    assert registry.files(registry.get("v0.1.0"))
    with pytest.raises(DamagedError, match=waiting.name):
        registry.get(waiting.stem)


def test_adding_the_same_model_again_makes_a_damaged_file_whole(tmp_path):
    registry = build(tmp_path / "registry", tmp_path)
    path = registry.files(registry.get("v0.1.0"))["model.safetensors"]
    path.write_bytes(b"rubbish")
    registry.register_pending(write_model(tmp_path / "a", 0), lineage=Lineage(seed=1))
    assert registry.verify().ok


def test_a_record_put_in_place_of_another_is_refused(tmp_path):
    registry = build(tmp_path / "registry", tmp_path)
    one, two = sorted((registry.root / "versions").glob("*.json"))
    shutil.copy(one, two)
    with pytest.raises(DamagedError, match="describes version"):
        registry.get(two.stem)


@pytest.mark.parametrize("when", ["fsync", "replace"])
def test_a_full_disk_at_any_write_harms_nothing_that_was_stored(tmp_path, monkeypatch, when):
    registry = build(tmp_path / "registry", tmp_path)
    before = {path: path.read_bytes() for path in stored(registry)}
    files = write_model(tmp_path / "new", 9)
    real = getattr(os, when)

    def register_and_promote(root):
        one = Registry.open(root)
        return one.promote(one.register_pending(files, lineage=Lineage()), "v0.9.0")

    # the weights (config and tokenizer are here already), the waiting record, the version's record, the pointers
    for room in range(4):
        left = [room]

        def full(*arguments, left=left, **kw):
            if not left[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            left[0] -= 1
            return real(*arguments, **kw)

        scratch = tmp_path / f"full-{room}"
        shutil.copytree(registry.root, scratch)
        with monkeypatch.context() as patch:
            patch.setattr(os, when, full)
            with pytest.raises(ReckonerError, match=r"No space left on device.*unharmed"):
                register_and_promote(scratch)
        assert left == [0]
        assert Registry.open(scratch).verify().ok
        after = {
            registry.root / path.relative_to(scratch): path.read_bytes() for path in stored(Registry.open(scratch))
        }
        assert after.items() >= before.items()
        assert not list(scratch.rglob("*.part"))
        assert register_and_promote(scratch).semvers == ("v0.9.0",)


WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from reckoner.registry import Lineage, Registry
registry, folder, number = Registry.open(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
models = [{p.name: p for p in (folder / f"m{i}").iterdir()} for i in range(number, number + int(sys.argv[5]))]
print("ready", flush=True)
for i, files in enumerate(models, number):
    run = registry.register_pending(files, lineage=Lineage(seed=i))
    registry.promote(run, f"v0.{i}.0")
"""


def writer(root, folder, first, count):
    command = [sys.executable, "-c", WRITER, str(HERE), str(root), str(folder), str(first), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def test_four_processes_that_register_at_once_lose_nothing(tmp_path):
    for i in range(24):
        write_model(tmp_path / f"m{i}", i)
    processes = [writer(tmp_path / "registry", tmp_path, first, 6) for first in (0, 6, 12, 18)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0, 0]
    for process in processes:
        process.stdout.close()
    registry = Registry.open(tmp_path / "registry")
    assert [version.semvers for version in registry.list()] == [(f"v0.{i}.0",) for i in range(24)]
    assert registry.verify().ok
    assert registry.verify().unreferenced == ()


def test_kill_9_at_any_moment_leaves_a_registry_that_verifies_and_goes_on(tmp_path):
    for i in range(12):
        write_model(tmp_path / f"m{i}", i)
    registry = Registry.open(tmp_path / "registry")
    rng = random.Random(1)
    killed = 0
    for _ in range(8):
        process = writer(registry.root, tmp_path, 0, 12)
        assert process.stdout.readline() == b"ready\n"
        time.sleep(rng.uniform(0, 0.06))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        process.stdout.close()
        seen = registry.verify()
        assert seen.problems == ()
        for version in registry.list():
            assert registry.files(version)
    assert killed >= 1
    process = writer(registry.root, tmp_path, 0, 12)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert [version.semvers for version in registry.list()] == [(f"v0.{i}.0",) for i in range(12)]


SUICIDE = """
import os, pathlib, signal, sys
root, folder, at = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
from reckoner.registry import Lineage, Registry
points = 0

def deadly(call):
    def wrapped(*arguments, **kw):
        global points
        for moment in ("before", "after"):
            if points == at:
                os.kill(os.getpid(), signal.SIGKILL)
            points += 1
            result = call(*arguments, **kw) if moment == "before" else result
        return result
    return wrapped

os.fsync, os.replace, os.unlink = deadly(os.fsync), deadly(os.replace), deadly(os.unlink)
registry = Registry.open(root)
registry.promote(registry.register_pending({p.name: p for p in folder.iterdir()}, lineage=Lineage()), "v0.2.0")
"""


def test_kill_9_before_and_after_every_single_write_leaves_no_half_state(tmp_path):
    whole = Registry.open(tmp_path / "whole")
    whole.promote(whole.register_pending(write_model(tmp_path / "a", 1), lineage=Lineage()), "v0.1.0")
    files = write_model(tmp_path / "b", 2, adapter=3)
    survived = False
    for point in range(40):
        registry = Registry.open(tmp_path / f"killed-{point}")
        shutil.copytree(whole.root, registry.root)
        command = [sys.executable, "-c", SUICIDE, str(registry.root), str(tmp_path / "b"), str(point)]
        code = subprocess.run(command, check=False).returncode
        assert code in (0, -signal.SIGKILL)
        assert registry.verify().problems == ()
        assert {version.semvers for version in registry.list()} <= {("v0.1.0",), (), ("v0.2.0",)}
        assert registry.files(registry.get("v0.1.0"))
        assert registry.promote(registry.register_pending(files, lineage=Lineage()), "v0.2.0").status == "promoted"
        assert registry.verify().unreferenced == ()
        survived = code == 0
        if survived:
            break
    # weights, adapter and its configuration, waiting record, version, pointers: fsync and replace of each, one unlink
    assert (survived, point) == (True, 2 * (6 * 2 + 1))


def test_without_fcntl_the_lock_is_a_file_and_one_that_is_left_behind_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "fcntl", None)
    monkeypatch.setattr(lock, "_TRIES", 2)
    registry = build(tmp_path / "registry", tmp_path)
    assert registry.verify().ok
    assert not (registry.root / ".lock.held").exists()
    (registry.root / ".lock.held").touch()
    with pytest.raises(ReckonerError, match=r"\.lock\.held has been held.*delete that file"):
        registry.tombstone("v0.1.0", "old")
    assert registry.get("v0.1.0").status == "promoted"


def test_a_registry_that_cannot_be_made_says_so(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ReckonerError, match="cannot lock"):
        build(tmp_path / "file" / "registry", tmp_path)


@pytest.fixture(scope="module")
def three_models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [write_model(folder / str(seed), seed) for seed in range(3)]


verbs = st.lists(
    st.tuples(st.sampled_from(["add", "promote", "tombstone"]), st.integers(0, 2), st.integers(0, 2)), max_size=12
)


@settings(max_examples=40, deadline=None)
@given(steps=verbs)
def test_any_order_of_verbs_leaves_what_a_plain_model_of_it_says(three_models, steps):
    """The oracle is three dictionaries: what is stored, what each name means, what is withdrawn."""
    digests, names, gone = {}, {}, set()
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry.open(folder)
        for verb, which, number in steps:
            semver = f"v0.{number}.0"
            known = digests.get(which, "0" * 64)
            if verb == "add" and which in gone:
                with pytest.raises(InputError, match="tombstoned"):
                    registry.register_pending(three_models[which], lineage=Lineage())
            elif verb == "add":
                run = registry.register_pending(three_models[which], lineage=Lineage())
                digests[which] = run.removeprefix("run-")
            elif which not in digests:
                with pytest.raises(InputError, match="no version named"):
                    registry.promote(known, semver) if verb == "promote" else registry.tombstone(known, "bad")
            elif verb == "tombstone":
                assert registry.tombstone(known, "bad").tombstone == "bad"
                gone.add(which)
            elif which in gone or names.get(semver, which) != which:
                with pytest.raises(InputError, match=r"tombstoned|already points"):
                    registry.promote(known, semver)
            else:
                registry.promote(known, semver)
                names[semver] = which
            seen = {version.digest: version for version in registry.list()}
            assert seen.keys() == set(digests.values())
            for model, digest in digests.items():
                held = tuple(sorted(name for name, to in names.items() if to == model))
                status = "tombstoned" if model in gone else "promoted" if held else "pending"
                assert (seen[digest].semvers, seen[digest].status) == (held, status)
        assert registry.verify().ok


def test_a_reader_beside_a_writer_never_sees_half_a_change(tmp_path):
    for i in range(12):
        write_model(tmp_path / f"m{i}", i)
    registry = Registry.open(tmp_path / "registry")
    process = writer(registry.root, tmp_path, 0, 12)
    seen = 0
    while process.poll() is None:
        versions = registry.list()
        assert len(versions) >= seen
        seen = len(versions)
        for version in versions:
            assert registry.files(registry.get(version.digest))
        assert registry.verify().problems == ()
    process.communicate()
    assert process.returncode == 0
    assert len(registry.list()) == 12


def test_ctrl_c_in_the_middle_of_a_write_harms_nothing(tmp_path, monkeypatch):
    registry = build(tmp_path / "registry", tmp_path)
    before = {path: path.read_bytes() for path in stored(registry)}
    files = write_model(tmp_path / "new", 9)

    def interrupted(_handle):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            registry.register_pending(files, lineage=Lineage())
    assert {path: path.read_bytes() for path in stored(registry)} == before
    assert registry.get(registry.register_pending(files, lineage=Lineage())).status == "pending"
