import json
import os
import signal
import subprocess
import sys
import time

from reckoner.workbench.stages import Stages


def test_a_finished_stage_is_read_back_not_run(tmp_path):
    stages = Stages(folder=tmp_path)
    runs = []
    for _ in range(2):
        result, resumed = stages.run("grade", {"seed": 1}, lambda: runs.append(1) or {"accuracy": 0.5})
    assert (result, resumed, len(runs)) == ({"accuracy": 0.5}, True, 1)


def test_other_inputs_run_the_stage_again(tmp_path):
    stages = Stages(folder=tmp_path)
    stages.run("grade", {"seed": 1}, lambda: 1)
    assert stages.run("grade", {"seed": 2}, lambda: 2) == (2, False)


def test_a_damaged_stage_is_done_again(tmp_path):
    stages = Stages(folder=tmp_path)
    stages.run("grade", {}, lambda: 1)
    path = tmp_path / "grade.json"
    path.write_bytes(path.read_bytes()[:-20])
    assert stages.run("grade", {}, lambda: 2) == (2, False)


def test_a_stage_edited_by_hand_is_done_again(tmp_path):
    stages = Stages(folder=tmp_path)
    stages.run("grade", {}, lambda: {"accuracy": 0.5})
    path = tmp_path / "grade.json"
    for changed in ({"accuracy": 0.9}, {}, None):
        path.write_text(json.dumps({**json.loads(path.read_text()), "result": changed}))
        assert stages.run("grade", {}, lambda: {"accuracy": 0.5}) == ({"accuracy": 0.5}, False)


CHILD = """
import sys, time
from pathlib import Path
from reckoner.workbench.stages import Stages
stages = Stages(folder=Path(sys.argv[1]))
for n in range(1000):
    stages.run(f"s{n}", {"n": n}, lambda: ["x" * 20000])
    print(n, flush=True)
"""


def test_killed_at_any_moment_no_finished_stage_is_lost_and_no_half_file_stands(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    child.stdout.readline()
    time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    rest = child.stdout.read().split()
    child.wait()
    child.stdout.close()
    finished = int(rest[-1]) if rest else 0
    for n in range(finished + 1):
        _, resumed = Stages(folder=tmp_path).run(f"s{n}", {"n": n}, lambda: "again")
        assert resumed, f"stage {n} was finished before the kill"
