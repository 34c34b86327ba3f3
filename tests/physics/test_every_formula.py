"""Every formula of the room is worked out by hand in its docstring, says where it comes from, and is tested."""

import inspect
import pkgutil
import re
from importlib import import_module
from pathlib import Path

import pytest

import reckoner.physics

PLAIN = ("arrays",)  # arithmetic on floats and arrays alike, no formulas


def formulas():
    for module in pkgutil.iter_modules(reckoner.physics.__path__):
        if module.name not in PLAIN:
            room = import_module(f"reckoner.physics.{module.name}")
            for name, function in inspect.getmembers(room, inspect.isfunction):
                if function.__module__ == room.__name__ and not name.startswith("_"):
                    yield pytest.param(function, id=f"{module.name}.{name}")


@pytest.mark.parametrize("function", list(formulas()))
def test_a_formula_is_worked_out_and_says_where_it_comes_from(function):
    said = inspect.getdoc(function)
    assert ">>>" in said
    assert "References\n" in said or "Notes\n" in said
    if "References\n" in said:
        assert re.search(r"arXiv:|doi|19\d\d|20\d\d", said)


def test_every_formula_is_met_by_a_test_of_its_own_room():
    tests = "".join(path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("test_*.py")))
    missing = [param.id for param in formulas() if not re.search(rf"\b{param.values[0].__name__}\b", tests)]
    assert not missing
