import os
import shlex
import subprocess
import sys

import click
import pytest

from reckoner.cli import COMMANDS, group


@pytest.mark.parametrize("verb", COMMANDS)
def test_the_listing_says_what_the_verb_says_of_itself(verb):
    command = group.get_command(click.Context(group), verb)
    assert command is not None
    assert command.help is not None
    assert COMMANDS[verb][1] == command.help.strip().splitlines()[0]


def run(*arguments):
    return subprocess.run([sys.executable, "-m", "reckoner", *arguments], capture_output=True, text=True, check=False)


def test_an_unknown_verb_gets_its_near_miss_and_exit_2():
    result = run("regsitry")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "reckoner: no command named 'regsitry'. Did you mean registry?\n"


def test_help_lists_every_verb():
    assert all(f"  {verb} " in run("--help").stdout for verb in COMMANDS)


def test_help_loads_no_heavy_library():
    code = "import sys, reckoner.cli as c; c.group.main(['--help'], standalone_mode=False); print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for heavy in ("numpy", "msgspec", "rich", "plotly", "matplotlib", "xllamacpp"):
        assert f"'{heavy}'" not in loaded


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a shell that closes a descriptor")
def test_a_closed_stdout_ends_quietly():
    command = shlex.join([sys.executable, "-m", "reckoner", "models", "gpt2", "--json"])
    result = subprocess.run(["sh", "-c", f"{command} >&-"], stderr=subprocess.PIPE, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_what_the_system_refuses_is_one_line_and_exit_2():
    result = run("models", "x" * 300 + ".json")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("reckoner: ")
    assert "File name too long" in result.stderr
    assert result.stderr.count("\n") == 1
