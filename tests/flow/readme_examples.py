"""The README's console examples. Run as a script it writes their real output into README.md: then read the diff."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
_BLOCK = re.compile(r"```console\n\$ (reckoner [^\n]*)\n(.*?)```", re.DOTALL)


def examples():
    """Each command with the output that the README shows."""
    return _BLOCK.findall(README.read_text(encoding="utf-8"))


def output(command):
    """What the command prints to stdout now, 100 columns wide and without colour, trailing blanks stripped.

    A check that fails (exit 1) is an answer; anything else is none.
    """
    result = subprocess.run(
        [sys.executable, "-m", "reckoner", *shlex.split(command)[1:]],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"},
    )
    if result.returncode not in {0, 1} or not result.stdout:
        raise RuntimeError(f"{command}: {result.stderr}")
    return "\n".join(line.rstrip() for line in result.stdout.strip("\n").splitlines()).strip("\n") + "\n"


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    README.write_text(_BLOCK.sub(lambda m: f"```console\n$ {m[1]}\n{output(m[1])}```", text), encoding="utf-8")
