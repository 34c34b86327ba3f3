import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reckoner.errors import InputError
from reckoner.report.chart import Annotation, Chart, Series, table_of
from reckoner.report.tables import Estimate, Table, number, to_html, to_markdown
from reckoner.report.theme import PAPER_DARK, PAPER_LIGHT, TONES, contrast

LINE = Series(name="with cache", x=(8, 16), y=(0.5, None), low=(0.4, None), high=(0.6, None))


def chart(*series, **fields):
    series = series or (LINE,)
    given = {"name": "c", "title": "T", "x_title": "S", "y_title": "ms", "caption": "What it shows."} | fields
    return Chart(series=series, table=table_of("S", series), **given)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"y": (1.0,)}, "y has 1 values for 2"),
        ({"y": (1.0, math.nan)}, r"y\[1\] is nan"),
        ({"low": (0.1, 0.1)}, "give both ends"),
        ({"style": "curly"}, "style is 'curly'"),
    ],
)
def test_a_series_that_cannot_be_drawn_is_refused(fields, says):
    with pytest.raises(InputError, match=says):
        Series(**({"name": "a", "x": (1.0, 2.0), "y": (1.0, 2.0)} | fields))


def test_a_log_axis_refuses_zero_and_names_the_point():
    with pytest.raises(InputError, match=r"series 'a': y\[1\] is 0.0 on a logarithmic axis"):
        chart(Series(name="a", x=(1, 2), y=(1.0, 0.0)), log_y=True)
    with pytest.raises(InputError, match="annotation 'limit'"):
        chart(log_x=True, annotations=(Annotation(text="limit", x=0.0),))


@pytest.mark.parametrize(("fields", "says"), [({"caption": ""}, "no caption"), ({"series": ()}, "no series")])
def test_a_chart_without_words_or_points_is_refused(fields, says):
    whole = {"name": "c", "title": "T", "x_title": "x", "y_title": "y", "series": (LINE,), "caption": "C"}
    with pytest.raises(InputError, match=says):
        Chart(**(whole | {"table": Table(headers=("a",), rows=())} | fields))


def test_an_annotation_stands_somewhere():
    with pytest.raises(InputError, match="neither x nor y"):
        Annotation(text="lost")
    assert [Annotation(text="t", x=x, y=y).kind for x, y in ((1, None), (None, 1), (1, 1))] == [
        "vertical",
        "horizontal",
        "point",
    ]


@pytest.mark.parametrize(
    ("log_x", "x", "share"), [(False, 12, 0.5), (True, math.sqrt(128), 0.5), (True, 4, 0.0), (False, 99, 1.0)]
)
def test_a_place_across_the_axis_is_a_share_of_what_the_axis_shows(log_x, x, share):
    assert chart(log_x=log_x).across(x) == pytest.approx(share)


def test_the_table_of_a_figure_holds_every_number_and_interval_it_draws():
    table = table_of("S", [LINE, Series(name="theory", x=(16, 32), y=(0.7, 0.9))])
    assert table.headers == ("S", "with cache", "with cache, low", "with cache, high", "theory")
    assert table.rows == ((8, 0.5, 0.4, 0.6, None), (16, None, None, None, 0.7), (32, None, None, None, 0.9))


def test_a_table_row_of_another_length_is_refused():
    with pytest.raises(InputError, match="row 1 has 1 cells for 2 headers"):
        Table(headers=("a", "b"), rows=((1, 2), (1,)))


def test_an_estimate_that_is_upside_down_or_not_finite_is_refused():
    with pytest.raises(InputError, match="above high"):
        Estimate(value=1, low=2, high=1)
    with pytest.raises(InputError, match="value is nan"):
        Estimate(value=math.nan, low=0, high=1)


@given(st.floats(1e-12, 1e12), st.integers(2, 8))
def test_a_written_number_reads_back_to_its_digits(value, digits):
    back = float(number(value, digits).replace(",", ""))
    assert back == pytest.approx(value, rel=0.500001 * 10.0 ** (1 - digits))
    assert number(-value, digits) == "-" + number(value, digits)


def test_markdown_and_html_write_the_same_cells_and_escape_what_could_break_them():
    table = Table(headers=("m|n", "<b>"), rows=(("a\nb", Estimate(value=0.5, low=0.25, high=0.75)), ("c", None)))
    assert to_markdown(table).splitlines() == [
        "| m\\|n | <b> |",
        "|---|---:|",
        "| a b | 0.5 [0.25, 0.75] |",
        "| c | – |",
    ]
    page = to_html(table, 'all "of" it')
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert 'aria-label="all &quot;of&quot; it"' in page
    assert '<td class="n">0.5 [0.25, 0.75]</td>' in page


def test_every_tone_stands_out_on_its_paper_and_differs_by_dash_and_symbol_too():
    for tone in TONES:
        assert contrast(tone.light, PAPER_LIGHT) >= 3
        assert contrast(tone.dark, PAPER_DARK) >= 4.5
    for look in ("light", "dark", "plotly_dash", "plotly_symbol", "mpl_dash", "mpl_symbol", "hatch"):
        assert len({getattr(tone, look) for tone in TONES}) == len(TONES)
