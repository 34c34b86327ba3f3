"""The prior of served deployments: what is known of a device counts, what is not widens, printed limits hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reckoner.catalogue.find import device, model
from reckoner.design import Design, Serving
from reckoner.errors import InputError
from reckoner.simulate import Continuous, lognormal, poisson, simulate
from reckoner.simulate.cells import Loops, of_loops, played, pooled
from reckoner.simulate.forecast import forecast
from reckoner.simulate.loops import left_out
from reckoner.simulate.prior import (
    KIN,
    SCALARS,
    SLOPES,
    Cell,
    Front,
    Pool,
    from_json,
    front_of,
    labels_of,
    packaged,
    place_of,
    predict_log,
    served,
    to_json,
)
from reckoner.simulate.server import server_of

DESIGN = Design(model=model("llama-3.1-8b"), device=device("h100"))


def cell(log: float, *, own: str = "a", source: str = "s") -> Cell:
    labels = (own, *("shared" for _ in KIN[1:]))
    return Cell(labels=labels, place=(0.0,) * len(SLOPES), log=(log,) * len(SCALARS), n=9, source=source)


def pool(*cells: Cell) -> Pool:
    return Pool(cells=cells, spread=np.full((len(SCALARS), len(KIN) + len(SLOPES) + 1), 0.2))


def test_without_cells_the_mean_is_the_beginning_and_the_spread_is_what_all_deployments_may_differ_by():
    mean, sd = predict_log(pool(), labels_of(DESIGN), (0.0, 0.0))
    assert mean.tolist() == [0.0] * len(SCALARS)
    assert sd == pytest.approx(np.sqrt(0.5**2 + (len(KIN) + 1) * 0.2**2))


def test_one_cell_pulls_its_like_as_the_formula_of_two_normal_variables_says():
    one = cell(-0.6)
    shared = 0.5**2 + len(KIN) * 0.2**2
    mean, sd = predict_log(pool(one), one.labels, one.place)
    assert mean == pytest.approx(-0.6 * shared / (shared + 0.2**2))
    assert sd == pytest.approx(np.sqrt(shared + 0.2**2 - shared**2 / (shared + 0.2**2)))


def test_a_device_that_was_measured_counts_more_than_one_that_only_is_like_it_and_narrows_the_spread():
    known = pool(cell(-0.5, own="a"), cell(0.5, own="b"))
    near, narrow = predict_log(known, cell(0.0, own="a").labels, (0.0, 0.0))
    far, wide = predict_log(known, cell(0.0, own="c").labels, (0.0, 0.0))
    assert np.all(near < far - 0.05)
    assert np.all(narrow < wide)


def test_a_source_that_is_left_out_no_longer_counts_and_a_pool_survives_its_file():
    known = pool(cell(-0.5, source="x"), cell(0.5, own="b", source="y"))
    assert [c.source for c in known.without("x").cells] == ["y"]
    again = from_json(to_json(known))
    assert again.cells == known.cells
    assert np.array_equal(again.spread, known.spread)


LOOPS = Loops(
    clients=np.array([1.0, 4.0, 16.0, 64.0, 8.0, 32.0]),
    prompt=np.array([500.0, 500.0, 500.0, 500.0, 6000.0, 6000.0]),
    output=np.full(6, 300.0),
    gap_s=np.ones(6),
    first_s=np.ones(6),
    least=0.8,
)


def made_by(truth: np.ndarray) -> Loops:
    gap_s, first_s = played(DESIGN, truth, LOOPS, LOOPS.arrivals())
    return replace(LOOPS, gap_s=gap_s, first_s=first_s)


def test_scalars_are_recovered_from_closed_loops_that_they_made():
    truth = np.array([-0.2, -0.3, 0.4, 0.9])
    made = made_by(truth)
    found = of_loops(DESIGN, made, "made")
    assert found is not None
    gap_s, first_s = played(DESIGN, np.array(found.log), LOOPS, LOOPS.arrivals())
    assert gap_s == pytest.approx(made.gap_s, rel=0.02)
    assert first_s == pytest.approx(made.first_s, rel=0.04)
    assert found.log[0] == pytest.approx(truth[0], abs=0.06)
    assert found.log[3] == pytest.approx(truth[3], abs=0.15)


def test_first_tokens_that_no_front_explains_are_left_out_and_tell_nothing_of_the_front():
    made = made_by(np.array([-0.2, -0.3, 0.4, 0.9]))
    jumpy = replace(made, first_s=made.first_s * np.array([50.0, 1.0, 30.0, 0.02, 40.0, 0.05]))
    found = of_loops(DESIGN, jumpy, "two versions in one")
    assert found is not None
    assert np.isnan(found.log[3])
    unstated = of_loops(DESIGN, replace(made, first_s=np.full(6, np.nan)), "no first tokens")
    assert unstated is not None
    assert found.log[:3] == unstated.log[:3]


def test_what_a_cell_does_not_show_it_does_not_move():
    blind = replace(cell(-0.6), log=(-0.6, -0.6, -0.6, float("nan")))
    mean, sd = predict_log(pool(blind), blind.labels, blind.place)
    nothing, wide = predict_log(pool(), blind.labels, blind.place)
    assert mean[3] == nothing[3]
    assert sd[3] == wide[3]
    assert np.all(mean[:3] < nothing[:3])
    again = from_json(to_json(pool(blind)))
    assert np.array_equal(again.cells[0].log, blind.log, equal_nan=True)


def test_loops_that_the_scalars_cannot_describe_make_no_cell():
    gaps = np.array([0.5, 0.001, 0.5, 0.001, 0.5, 0.001])
    assert of_loops(DESIGN, replace(LOOPS, gap_s=gaps, first_s=np.full(6, np.nan)), "odd") is None


def test_the_front_is_that_of_its_like_and_delays_a_first_token_by_what_it_says():
    front = front_of(DESIGN)
    assert 0.002 < front.seconds < 0.2
    arrivals = poisson(2.0, lognormal(400.0, 100.0), n=40, seed=0)
    with_it, without = server_of(DESIGN), server_of(DESIGN, front=Front(seconds=0.0, token_s=0.0, sd=0.0))
    late = simulate(with_it, arrivals).latency_s("ttft") - simulate(without, arrivals).latency_s("ttft")
    assert late == pytest.approx(front.seconds + front.token_s * arrivals.prompt_tokens, abs=1e-12)


def test_what_is_left_out_of_the_pool_is_what_shares_the_name():
    every = packaged()
    own = labels_of(DESIGN)
    assert {c.labels[0] for c in left_out(every, DESIGN, "x", "device").cells} == {c.labels[0] for c in every.cells} - {
        own[0]
    }
    assert own[5] not in {c.labels[5] for c in left_out(every, DESIGN, "x", "model").cells}
    assert not {"inferencex", "silicon_agg"} & {c.source for c in left_out(every, DESIGN, "inferencex", "source").cells}
    mine = [c for c in every.cells if c.labels == own and c.place[0] == 0.0]
    assert mine
    assert len(left_out(every, DESIGN, "x", "deployment").cells) == len(every.cells) - len(mine)


def test_spreads_are_learned_as_small_where_all_cells_agree_and_large_where_they_do_not():
    rng = np.random.default_rng(0)
    alike = pooled([cell(0.01 * x, own=str(i)) for i, x in enumerate(rng.standard_normal(12))])
    apart = pooled([cell(0.8 * x, own=str(i)) for i, x in enumerate(rng.standard_normal(12))])
    assert np.all(alike.spread[:, -1] < 0.5 * apart.spread[:, -1])


@pytest.mark.parametrize(
    ("name", "card", "options"),
    [
        ("llama-3.1-8b", "rtx-pro-6000", {}),
        ("qwen3-32b", "rtx-pro-6000", {"tp": 2.0}),
        ("qwen3-30b-a3b", "rtx-pro-6000", {}),
        ("mixtral-8x7b", "h100", {"tp": 2.0, "ep": 2.0}),
        ("llama-3.1-70b", "h100", {"weights": "fp8"}),
        ("llama-3.1-8b", "rtx-4090", {"weights": "int4"}),
        ("deepseek-r1", "h200", {"tp": 8.0, "weights": "fp8"}),
        ("gpt-oss-120b", "b200", {"weights": "mxfp4"}),
        ("llama-3.1-8b", "mi300x", {}),
    ],
)
def test_every_kind_of_deployment_is_forecast_with_an_interval_around_a_step_no_shorter_than_the_limits(
    name, card, options
):
    design = Design(model=model(name), device=device(card), serving=Serving(engine="vllm", **options))
    efficiency = served(design)
    assert np.all(np.diag(efficiency.covariance) >= 0.0)
    server = server_of(design)
    assert server.limit is not None
    assert np.all(server.cost.decode_s[1:] >= server.limit.decode_s[1:])
    arrivals = poisson(2.0, lognormal(400.0, 100.0), n=40, seed=0)
    found = forecast(design, arrivals, scheduler=Continuous(max_seqs=64, token_budget=2048), draws=20)
    assert np.all(found.low <= found.high)
    assert np.all(found.low > 0.0)


def test_more_is_known_of_a_device_that_was_measured_with_the_engine_asked_for():
    known, fresh = DESIGN, replace(DESIGN, device=device("l4"))
    assert served(known).n > 0
    assert served(fresh).n == 0
    assert served(known).covariance[0, 0] < served(fresh).covariance[0, 0]
    assert place_of(fresh)[1] < place_of(known)[1]


def test_a_forecast_is_the_same_for_the_same_seed_and_refuses_too_few_draws():
    arrivals = poisson(2.0, lognormal(400.0, 100.0), n=40, seed=0)
    one, two = (forecast(DESIGN, arrivals, draws=20, seed=4) for _ in range(2))
    assert np.array_equal(one.low, two.low)
    with pytest.raises(InputError, match="draws is 5"):
        forecast(DESIGN, arrivals, draws=5)


def test_the_packaged_pool_holds_both_recorded_runs_and_closed_loops():
    sources = {c.source.split("|")[0] for c in packaged().cells}
    assert {"RTX-4090-24GB", "RTX-PRO-6000-BW-96GB", "inferencex", "mlenergy_v3"} <= sources
