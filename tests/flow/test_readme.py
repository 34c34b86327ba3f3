import re

import pytest
from readme_examples import README, ROOT, examples, output


def test_the_readme_shows_output():
    assert len(examples()) >= 3


@pytest.mark.parametrize(("command", "shown"), examples(), ids=[command for command, _ in examples()])
def test_each_example_of_the_readme_is_real_output(command, shown):
    assert output(command) == shown, "run: python tests/flow/readme_examples.py, then read the diff"


def test_every_file_that_the_readme_links_to_stands():
    for target in re.findall(r"\]\(([^)#]+)\)", README.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
