from pathlib import Path

from reckoner.cli.reference import reference


def test_the_command_line_reference_is_what_the_verbs_say():
    committed = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    assert committed == reference(), "run: make docs"
