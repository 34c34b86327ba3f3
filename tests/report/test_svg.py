"""Charts as inline SVG: every point where its number says, names for all, nothing loaded."""

import math
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reckoner.audit.brief import brief
from reckoner.audit.report_card import card_of
from reckoner.audit.run import audit
from reckoner.errors import InputError
from reckoner.report.audit import latency_map
from reckoner.report.chart import Annotation, Chart, Series, table_of
from reckoner.report.plotly_figure import figure
from reckoner.report.radar import practice_radar, practice_table, radar
from reckoner.report.svg import NARROW, SVG_CSS, WIDE, to_figure, to_svg
from reckoner.report.theme import PAPER_DARK, PAPER_LIGHT, TONES, contrast


def chart(*series, **options):
    return Chart(
        name="c", title="A title", x_title="x [s]", y_title="y [B]", series=series, caption="What to see.",
        table=table_of("x", series), **options,
    )  # fmt: skip


def dots(svg):
    """Middles of the circles, in order."""
    return [(float(one.get("cx")), float(one.get("cy"))) for one in ET.fromstring(svg).iter("circle")]


finite = st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-3)


@given(st.lists(st.tuples(finite, finite), min_size=2, max_size=12, unique_by=lambda p: round(p[0], 6)))
@settings(max_examples=60, deadline=None)
def test_points_keep_their_order_and_their_distances_and_stay_inside_the_picture(points):
    x, y = zip(*points, strict=True)
    svg = to_svg(chart(Series(name="a", x=x, y=y, style="dots")))
    found = dots(svg)
    assert len(found) == len(points)
    assert all(0 <= px <= WIDE[0] and 0 <= py <= WIDE[1] for px, py in found)
    span = max(x) - min(x)
    if span > 1e-2:
        scale = (max(px for px, _ in found) - min(px for px, _ in found)) / span
        for (px, _), value in zip(found, x, strict=True):
            assert px - min(p for p, _ in found) == pytest.approx((value - min(x)) * scale, abs=0.2)


def test_a_logarithmic_axis_places_powers_of_ten_at_equal_distances():
    svg = to_svg(chart(Series(name="a", x=(1, 10, 100), y=(1, 10, 100), style="dots"), log_x=True, log_y=True))
    (x0, y0), (x1, y1), (x2, y2) = dots(svg)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.2)
    assert y0 > y1


def test_every_series_is_named_and_told_apart_by_dash_and_symbol_not_colour_alone():
    series = [Series(name=f"series {i}", x=(1, 2), y=(i, i + 1), style="line+dots") for i in range(4)]
    svg = to_svg(chart(*series))
    for one in series:
        assert one.name in svg
    dashes = {re.search(r"stroke-dasharray=\"([^\"]+)\"", part).group(1) if "dasharray" in part else ""
              for part in re.findall(r'<path [^>]+stroke="var\(--c\)"[^>]*>', svg)}  # fmt: skip
    assert len(dashes) == 4
    assert {"circle", "polygon"} <= {one.tag.split("}")[-1] for one in ET.fromstring(svg).iter()}


@pytest.mark.parametrize("narrow", [False, True])
def test_the_picture_says_what_it_shows_and_each_point_its_number(narrow):
    mark = Annotation(text="limit <b>", y=2.5)
    svg = to_svg(chart(Series(name="a", x=("one", "two"), y=(1, 3), low=(0.5, 2), high=(2, 4), style="bars"),
                       annotations=(mark,)), narrow=narrow)  # fmt: skip
    root = ET.fromstring(svg)
    assert root.get("role") == "img"
    assert root.get("aria-label") == "A title. What to see."
    assert "a, two: 3 [2, 4] y [B]" in [one.text for one in root.iter("title")]
    assert "<b>" not in svg
    assert float(root.get("viewBox").split()[2]) == (NARROW if narrow else WIDE)[0]


def test_a_gap_breaks_the_line_and_has_no_point():
    svg = to_svg(chart(Series(name="a", x=(1, 2, 3, 4), y=(1, None, 3, 4), style="line+dots")))
    assert len(dots(svg)) == 3
    (path,) = [one.get("d") for one in ET.fromstring(svg).iter("path")]
    assert path.count("M") == 2


def test_two_figures_of_one_page_share_no_id_and_nothing_is_loaded():
    one = to_figure(
        chart(Series(name="a", x=("u",), y=(1,), style="bars"), Series(name="b", x=("u",), y=(2,), style="bars"))
    )
    ids = re.findall(r'id="([^"]+)"', one)
    assert len(ids) == len(set(ids)) == 2
    assert "http" not in one + SVG_CSS
    assert "<details>" in one


def test_a_zone_is_drawn_by_every_renderer_and_a_zone_upside_down_is_refused():
    made = chart(Series(name="a", x=(1, 2), y=(1, 3)), zones=((0.5, 2.0, "promised"),))
    assert "promised" in to_svg(made)
    layout = figure(made)["layout"]
    assert [shape["type"] for shape in layout["shapes"]] == ["rect"]
    assert layout["annotations"][0]["text"] == "promised"
    for zones in (((2.0, 1.0, "x"),), ((0.0, 1.0, "x"),)):
        with pytest.raises(InputError, match="no band"):
            chart(Series(name="a", x=(1, 2), y=(1, 3)), zones=zones, log_y=True)


def test_the_colours_of_the_page_s_words_have_contrast_enough():
    from reckoner.web.look import _DARK, _LIGHT

    assert min(contrast(ink, "#f3f5f7") for ink in _LIGHT.values()) >= 4.5
    assert min(contrast(ink, "#1f242a") for ink in _DARK.values()) >= 4.5
    assert min(contrast(look.light, PAPER_LIGHT) for look in TONES) >= 3.0
    assert min(contrast(look.dark, PAPER_DARK) for look in TONES) >= 4.5


def test_the_map_places_every_tier_and_says_whose_queue_has_no_end():
    made = latency_map(audit(brief()))
    names = [one.name for one in made.series]
    assert {"cloud, queue without end", "edge, queue without end", "mobile", "tinyml"} <= set(names)
    assert sum(" has " in name for name in names) == 4
    highest = max(one.y[0] for one in made.series if one.style == "dots")
    assert made.series[names.index("cloud, queue without end")].y[0] == highest
    assert [row[-1] for row in made.table.rows][:2] == ["without end", "without end"]
    assert made.zones[0][1] == 0.1
    tones = {one.name.split()[0].strip(","): one.tone for one in made.series}
    assert tones == {"cloud": 0, "edge": 1, "mobile": 2, "tinyml": 3}


def test_a_map_of_tiers_that_fit_nowhere_is_none():
    plan = brief().with_tier("cloud", weights="fp32", batch=4096, prompt_tokens=100_000)
    made = latency_map(audit(plan))
    assert "cloud" in made.caption
    assert all(not one.name.startswith("cloud") for one in made.series)


def test_the_radar_has_a_point_where_there_is_a_share_and_none_where_nothing_was_practised():
    card = card_of({2: {"act1_correct": True}, 13: {"act1_correct": False}})
    drawing = practice_radar(card.practice)
    assert len(dots(drawing.svg)) == 2 + 1  # two spokes, and the sample beside the name
    for one in card.practice:
        assert one.invariant in drawing.svg
    assert practice_table(card.practice).rows[2] == ("amdahl", 0, None, None)


def test_a_full_share_stands_on_the_rim_and_an_empty_one_in_the_middle():
    svg = radar({"a": [1.0, 0.0, 0.5, 1.0]}, ["n", "e", "s", "w"], caption="c").svg
    *points, _ = dots(svg)
    middle = points[1]
    assert math.dist(points[0], middle) == pytest.approx(112, abs=0.2)
    assert math.dist(points[2], middle) == pytest.approx(56, abs=0.2)
    assert points[0][1] < middle[1] < points[2][1]
