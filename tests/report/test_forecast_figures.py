import pytest

from reckoner.errors import InputError
from reckoner.report.forecast_figures import HourScore, coverage_chart, drift_chart


def hours(n, *, bias=0.0, coverage=0.9):
    return [
        HourScore(hour=f"2026-11-{20 + i // 24:02d}T{i % 24:02d}", n=9, bias=bias, mean_ape=0.1, coverage=coverage)
        for i in range(n)
    ]


def test_drift_is_drawn_over_the_hours_since_the_first_for_each_predictor():
    chart = drift_chart({"physics": hours(30, bias=-0.2), "ann": hours(2, bias=0.1)})
    assert [(series.name, len(series.x), series.x[-1], series.y[0]) for series in chart.series] == [
        ("ann", 2, 1.0, pytest.approx(10.0)),
        ("physics", 30, 29.0, pytest.approx(-20.0)),
    ]
    assert chart.x_title == "hours since 2026-11-20T00:00 UTC"


def test_coverage_is_drawn_against_the_level_that_was_promised():
    chart = coverage_chart({"ann": hours(3), "physics": hours(3, coverage=None)}, level=0.9)
    assert [series.name for series in chart.series] == ["ann"]
    assert chart.annotations[0].y == pytest.approx(90.0)
    assert "promised 90%" in chart.caption


def test_a_picture_of_nothing_is_refused():
    with pytest.raises(InputError, match="nothing to draw"):
        drift_chart({})
    with pytest.raises(InputError, match="no forecast has an interval"):
        coverage_chart({"physics": hours(3, coverage=None)}, level=0.9)
