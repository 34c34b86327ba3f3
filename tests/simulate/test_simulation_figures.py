from __future__ import annotations

import pytest

from reckoner.report.simulation_figures import latency_chart, load_chart
from reckoner.simulate import Continuous, Server, fixed, poisson, simulate
from reckoner.simulate.cost import linear_cost


@pytest.fixture(scope="module")
def found():
    server = Server(cost=linear_cost(base_s=0.01, token_s=1e-5), scheduler=Continuous(), kv_tokens=100_000)
    return simulate(server, poisson(30.0, fixed(100, 20), n=1000, seed=1))


def test_the_load_chart_shows_work_and_queue_over_the_whole_run(found):
    chart = load_chart(found)
    assert [series.name for series in chart.series] == ["in a step", "waiting"]
    assert chart.series[0].x[-1] == pytest.approx(found.finish_s.max(), rel=0.02)
    assert "full" in chart.caption


def test_latencies_rise_with_the_percentile_and_end_where_they_are_bounded(found):
    chart = latency_chart(found)
    for series in chart.series:
        assert list(series.y) == sorted(series.y)
        assert series.x[-1] <= 99.7
