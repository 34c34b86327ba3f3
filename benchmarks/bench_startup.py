"""How long a newcomer waits for the first word: import of the package, and the whole process of `reckoner --help`."""

import subprocess
import sys
import time

import numpy as np

ROUNDS = 15
GOAL_S = 0.3
COMMANDS = {
    "bare_python_s": ["-c", "pass"],
    "import_reckoner_s": ["-c", "import reckoner"],
    "help_s": ["-m", "reckoner", "--help"],
}


def wall(arguments):
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - started


def test_help_comes_within_the_goal(benchmark):
    rounds = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, arguments in COMMANDS.items():
            rounds[name].append(wall(arguments))
    median = {name: float(np.median(times)) for name, times in rounds.items()}
    figures = {
        "help_wall_s": median["help_s"],
        "bare_python_wall_s": median["bare_python_s"],
        "import_reckoner_s": median["import_reckoner_s"] - median["bare_python_s"],
        "goal_s": GOAL_S,
    }
    benchmark.extra_info.update(figures)
    print(figures)
    benchmark.pedantic(wall, args=(COMMANDS["help_s"],), rounds=5)
    assert median["help_s"] < GOAL_S
