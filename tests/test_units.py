import pytest
from hypothesis import given
from hypothesis import strategies as st

from reckoner.errors import InputError
from reckoner.units import parse, show


@given(st.floats(1e-8, 1e15))
def test_what_is_shown_reads_back_within_its_digits(value):
    assert parse(show(value, "B/s", digits=4), "B/s") == pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize(
    ("text", "base"), [("80 GB/s", "B"), ("fast", "B/s"), ("3 XB", "B"), ("", "W"), ("3 KiW", "W")]
)
def test_another_unit_is_refused_with_an_example(text, base):
    with pytest.raises(InputError, match=base.replace("/", "/")):
        parse(text, base)


def test_rounding_up_moves_to_the_next_prefix():
    assert show(999.9, "B") == "1.00 kB"
