import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reckoner.catalogue.find import device, model
from reckoner.design import Design, Serving, Workload
from reckoner.errors import InputError, MissingExtraError, UnknownNameError
from reckoner.predict import sweep as sweeping
from reckoner.predict.metrics import UNITS
from reckoner.predict.prediction import predict
from reckoner.predict.sweep import front, pieces, sweep

METRICS = [name for name in UNITS if name != "usd_per_m_output_tokens"]
BASE = Design(model=model("llama-3.1-8b"), device=device("h100"))


@pytest.fixture(params=[1, 7, 1 << 16])
def small_pieces(request, monkeypatch):
    monkeypatch.setattr(sweeping, "_PIECE", request.param)


def test_every_row_equals_the_prediction_asked_alone(small_pieces):
    grid = sweep(
        BASE, Workload(output_tokens=64), batch=[1, 8, 64], device=["h100", "l40s"], prompt_tokens=[100, 3000],
        weights=["bf16", "fp8"], tp=[1, 2],
    )  # fmt: skip
    assert len(grid) == 3 * 2 * 2 * 2 * 2
    for row in grid.records():
        design = Design(
            model=BASE.model,
            device=device(row["device"]),
            serving=Serving(batch=row["batch"], weights=row["weights"], tp=row["tp"]),
        )
        alone = predict(design, Workload(prompt_tokens=row["prompt_tokens"], output_tokens=64))
        for name in METRICS:
            assert row[name] == pytest.approx(getattr(alone, name), rel=1e-9), (name, row)
        assert row["fits"] == alone.fits


def test_rows_run_through_the_last_axis_fastest_whatever_is_looped_over():
    grid = sweep(BASE, batch=[1, 2], device=["h100", "l40s"], output_tokens=[10, 20])
    assert grid.column("batch").tolist() == [1, 1, 1, 1, 2, 2, 2, 2]
    assert grid.column("device").tolist() == ["nvidia-h100-sxm", "nvidia-h100-sxm", "nvidia-l40s", "nvidia-l40s"] * 2
    assert grid.column("output_tokens").tolist() == [10, 20] * 4


def test_a_sweep_without_axes_is_one_row():
    grid = sweep(BASE)
    assert len(grid) == 1
    assert grid.column("tpot_s")[0] == predict(BASE).tpot_s


def test_columns_have_equal_length_and_plain_types():
    grid = sweep(BASE, model=["llama-3.1-8b", "gpt2"], batch=np.arange(1, 5))
    columns = grid.columns
    assert {len(column) for column in columns.values()} == {8}
    assert columns["fits"].dtype == bool
    assert columns["model"].dtype.kind == "U"
    assert all(columns[name].dtype == np.float64 for name in METRICS)


def test_constraints_keep_exactly_the_rows_that_meet_them():
    grid = sweep(BASE, batch=[1, 4, 16, 64, 256, 1024], prompt_tokens=[128, 8192])
    kept = grid.where(at_most={"tpot_s": 0.02}, at_least={"requests_per_s": 1.0}, fits=True)
    meets = [r for r in grid.records() if r["tpot_s"] <= 0.02 and r["requests_per_s"] >= 1.0 and r["fits"]]
    assert list(kept.records()) == meets
    assert 0 < len(kept) < len(grid)
    assert len(grid.where(fits=True)) + len(grid.where(fits=False)) == len(grid)


def test_the_front_of_latency_and_throughput_is_a_trade_off():
    grid = sweep(BASE, batch=[1, 2, 4, 8, 16], tp=[1, 2, 4]).pareto(
        minimise=["tpot_s"], maximise=["output_tokens_per_s"]
    )
    ordered = grid.sort("tpot_s")
    assert (np.diff(ordered.column("output_tokens_per_s")) >= 0).all()
    assert len(ordered.head(2)) == 2
    assert ordered.sort("tpot_s", descending=True).column("tpot_s")[0] == ordered.column("tpot_s").max()


@settings(deadline=None)
@given(st.data())
def test_the_front_is_what_comparing_all_pairs_keeps(data):
    n, k = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 3))
    costs = np.array(data.draw(st.lists(st.lists(st.integers(0, 4), min_size=k, max_size=k), min_size=n, max_size=n)))
    direct = [
        i for i in range(n) if not any((costs[j] <= costs[i]).all() and (costs[j] < costs[i]).any() for j in range(n))
    ]
    assert front(costs.astype(float)).tolist() == direct


def test_the_front_of_many_rows_is_found_across_blocks(monkeypatch):
    costs = np.random.default_rng(0).random((3000, 3))
    whole = front(costs).tolist()
    monkeypatch.setattr(sweeping, "_COMPARED", 64)
    assert front(costs).tolist() == whole


@given(st.lists(st.integers(1, 6), max_size=4), st.integers(1, 50))
def test_pieces_cover_the_grid_once_and_stay_small(shape, size):
    seen = np.zeros(shape, dtype=int)
    for piece in pieces(tuple(shape), size):
        assert seen[piece].size <= size
        seen[piece] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize(
    ("axes", "error", "words"),
    [
        ({"batsch": [1]}, UnknownNameError, "no axis named 'batsch'. Did you mean batch"),
        ({"batch": []}, InputError, "axis batch has shape"),
        ({"batch": ["many"]}, InputError, "axis batch is"),
        ({"batch": [[1, 2]]}, InputError, "axis batch has shape"),
        ({"device": []}, InputError, "axis device is empty"),
        ({"device": ["h1000"]}, UnknownNameError, "no device named 'h1000'"),
        ({"tp": [1, 3]}, InputError, "tp is 3; it must divide"),
        ({"batch": [1, -1]}, InputError, "batch is -1"),
    ],
)
def test_a_bad_axis_is_refused(axes, error, words):
    with pytest.raises(error, match=words):
        sweep(BASE, **axes)


def test_an_unknown_column_is_refused_with_near_misses():
    grid = sweep(BASE, batch=[1])
    with pytest.raises(UnknownNameError, match="Did you mean tpot_s"):
        grid.column("tpot")
    with pytest.raises(InputError, match="no objective"):
        grid.pareto()


def test_an_arrow_table_holds_the_columns_or_says_what_to_install():
    grid = sweep(BASE, device=["h100", "l40s"], batch=[1, 2]).where(at_least={"batch": 2})
    try:
        import pyarrow as pa
    except ImportError:
        with pytest.raises(MissingExtraError, match="pip install 'llm-reckoner\\[ledger\\]'"):
            grid.to_arrow()
    else:
        table = grid.to_arrow()
        assert isinstance(table, pa.Table)
        assert table.column("device").to_pylist() == ["nvidia-h100-sxm", "nvidia-l40s"]
        assert table.column("batch").to_pylist() == [2.0, 2.0]
