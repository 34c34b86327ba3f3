"""PNG, Plotly and the page: what every figure of every report rests on."""

import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from reckoner.errors import InputError, MissingExtraError
from reckoner.report.chart import Annotation, Chart, Series, table_of
from reckoner.report.page import Drawing, Section, page
from reckoner.report.plotly_figure import figure, to_div
from reckoner.report.png import png_bytes, to_png
from reckoner.report.tables import Table

CONTEXTS = (8.0, 64.0, 1024.0)


def curves(**fields):
    measured = Series(
        name="with cache",
        x=CONTEXTS,
        y=(0.5, 0.6, 0.9),
        low=(0.4, 0.5, 0.8),
        high=(0.6, 0.7, None),
        style="line+dots",
    )
    theory = Series(name="theory", x=CONTEXTS, y=(0.4, 0.5, 0.8), style="dotted", tone=0)
    series = (measured, theory)
    marks = (Annotation(text="crossover", x=32.0), Annotation(text="SLO", y=0.7), Annotation(text="p", x=64.0, y=0.6))
    given = {"log_x": True, "log_y": True, "annotations": marks} | fields
    return Chart(
        name="latency",
        title="Decode </script> latency",
        x_title="tokens",
        y_title="ms",
        series=series,
        caption="Grows <slowly>.",
        table=table_of("tokens", series),
        **given,
    )


def bars():
    names = ("v0.1.0", "v0.2.0")
    series = (
        Series(name="prefill", x=names, y=(800.0, None), low=(700.0, None), high=(850.0, None), style="bars"),
        Series(name="decode", x=names, y=(400.0, 900.0), style="bars"),
    )
    return Chart(
        name="speed",
        title="Speed",
        x_title="version",
        y_title="tokens/s",
        series=series,
        caption="INT8 is faster.",
        table=table_of("version", series),
    )


@pytest.mark.parametrize("make", [curves, bars, lambda: curves(log_x=False, log_y=False, y_range=(0.0, 1.0))])
def test_drawing_a_chart_twice_gives_the_same_png(make, tmp_path):
    first = png_bytes(make())
    assert first == png_bytes(make())
    assert first.startswith(b"\x89PNG")
    assert b"Software" not in first
    assert b"matplotlib" not in first
    assert to_png(make(), tmp_path / "a.png").read_bytes() == first


def test_a_persons_own_matplotlib_settings_do_not_change_the_picture():
    import matplotlib as mpl

    plain = png_bytes(bars())
    with mpl.rc_context({"axes.facecolor": "red", "font.size": 30, "savefig.dpi": 20}):
        assert png_bytes(bars()) == plain


def test_the_picture_is_large_enough_to_read_and_not_blank(tmp_path):
    from matplotlib.image import imread

    pixels = imread(to_png(curves(), tmp_path / "a.png"))
    assert pixels.shape[:2] == (720, 1152)
    blue = (abs(pixels[..., :3] - [0, 0x72 / 255, 0xB2 / 255]) < 0.02).all(axis=-1)
    assert blue.sum() > 500


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("make", [curves, bars])
def test_plotly_itself_accepts_every_figure(make, dark):
    import plotly.graph_objects as go

    drawn = figure(make(), dark=dark)
    go.Figure(drawn)  # raises on an unknown or impossible attribute
    assert [trace["name"] for trace in drawn["data"]] == [series.name for series in make().series]
    assert drawn == json.loads(json.dumps(drawn))


def test_interval_ends_reach_plotly_as_distances_from_the_point():
    error = figure(curves())["data"][0]["error_y"]
    assert error["array"] == pytest.approx([0.1, 0.1, 0.0])
    assert error["arrayminus"] == pytest.approx([0.1, 0.1, 0.1])


def test_a_numeric_axis_holds_every_point_whisker_and_annotation_inside_its_frame():
    layout = figure(curves(log_x=False, log_y=False))["layout"]
    low, high = layout["yaxis"]["range"]
    assert low < 0.4
    assert high > 0.9
    low, high = layout["xaxis"]["range"]
    assert low < 8
    assert high > 1024


def test_text_in_a_chart_cannot_close_its_script():
    div = to_div(curves())
    assert div.count("</script>") == 1
    source = re.search(r"<script[^>]*>(.*)</script>", div, re.DOTALL)
    assert set(json.loads(source[1])) == {"light", "dark"}


class _Reader(HTMLParser):
    VOID = frozenset({"meta", "link", "br", "img", "hr"})

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.headings, self.bad = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        if "id" in attributes:
            self.ids.append(attributes["id"])
        self.links += [attributes[key] for key in ("href", "src") if attributes.get(key)]
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.bad.append(tag)


@pytest.fixture(scope="module")
def whole():
    sections = [
        Section(title="KV cache", parts=("Text with **bold**, `code` & <b>.", curves())),
        Section(
            title="Lineage",
            parts=(
                Table(headers=("a",), rows=(("<i>",),)),
                Drawing(svg='<svg role="img" aria-label="one"></svg>', caption="One version.", source="graph LR"),
                bars(),
            ),
        ),
    ]
    return page("Report & more", "It **runs**.", sections, manifest={"digest": "abc", "n": 1})


def test_a_page_is_well_formed_with_unique_ids_and_headings_in_order(whole):
    reader = _Reader()
    reader.feed(whole)
    assert reader.bad == []
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))
    assert reader.headings[0] == 1
    assert all(after - before <= 1 for before, after in zip(reader.headings, reader.headings[1:], strict=False))


def test_a_page_loads_nothing_from_anywhere(whole):
    reader = _Reader()
    reader.feed(whole)
    assert all(link.startswith(("#", "data:")) for link in reader.links)
    assert {link[1:] for link in reader.links if link.startswith("#")} <= set(reader.ids)
    outside_scripts = re.sub(r"<script.*?</script>", "", whole, flags=re.DOTALL)
    assert "http://" not in outside_scripts
    assert "https://" not in outside_scripts
    assert "default-src 'none'" in whole  # the browser itself refuses whatever the library might ask for


def test_the_drawing_library_is_inlined_once_and_only_when_there_is_a_figure(whole):
    assert whole.count("function Plotly") + whole.count("plotly.js v") >= 1
    assert whole.count("<script>") == 2
    assert "<script" not in page("T", "L", [Section(title="A", parts=("text",))], manifest={})


def test_every_figure_has_its_words_and_its_numbers_beside_it(whole):
    assert whole.count('role="img" aria-label=') == 3
    assert whole.count("<summary>The numbers</summary>") == 2
    assert "Grows &lt;slowly&gt;." in whole
    assert "Text with <strong>bold</strong>, <code>code</code> &amp; &lt;b&gt;." in whole


def test_the_same_sections_make_the_same_page(whole):
    def make():
        return page("T", "L", [Section(title="A", parts=(curves(),))], manifest={"b": 1, "a": 2})

    assert hashlib.sha256(make().encode()).digest() == hashlib.sha256(make().encode()).digest()


def test_two_parts_that_would_share_an_id_are_refused():
    with pytest.raises(InputError, match="share the id 'a-b'"):
        page("T", "L", [Section(title="A b", parts=()), Section(title="a, B", parts=())], manifest={})
    with pytest.raises(InputError, match="charts of the page share the id 'speed'"):
        page("T", "L", [Section(title="A", parts=(bars(), bars()))], manifest={})


def test_importing_the_report_room_imports_no_drawing_library():
    code = (
        "import sys, reckoner.report.page, reckoner.report.png, reckoner.report.plotly_figure;"
        "sys.exit(any(name in sys.modules for name in ('matplotlib', 'plotly')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("package", "draw"), [("matplotlib", lambda: png_bytes(bars())), ("plotly", None)])
def test_a_missing_drawing_library_is_named_with_its_extra(package, draw, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    draw = draw or (lambda: page("T", "L", [Section(title="A", parts=(bars(),))], manifest={}))
    with pytest.raises(MissingExtraError, match=rf"{package} is not installed.*\[report\]"):
        draw()
