import subprocess
import sys
from pathlib import Path


def test_the_command_line_reference_is_what_the_verbs_say():
    # In a process of its own: a verb that another test invoked directly remembers other names of its help option.
    made = subprocess.run([sys.executable, "-m", "reckoner.cli.reference"], capture_output=True, text=True, check=True)
    committed = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    assert committed == made.stdout, "run: make docs"
