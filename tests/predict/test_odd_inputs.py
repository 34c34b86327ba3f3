"""Whatever is handed over, each failure is one sentence of ours that names the field, and no result is spoiled."""

import math

import numpy as np
import pytest

import reckoner as rk
from reckoner.errors import InputError, ReckonerError
from reckoner.predict.metrics import UNITS
from reckoner.predict.prediction import Prediction

MODEL, DEVICE = rk.model("llama-3.1-8b"), rk.device("h100")
LOCKED = np.array([1.0, 2.0])
LOCKED.flags.writeable = False
ODD = [
    math.nan, math.inf, -math.inf, -1, 0, 0.5, 1e-300, 1e300, 10**400, True, None, "", "8", "abc", b"8", [], [[]],
    [1, [2]],
    [1, 2, 3], (1, 2), {}, {1}, np.array([]), np.array([1, 2], dtype=np.int8), np.array([1, 2], dtype=object),
    np.array(["a"]), np.array([1 + 1j]), 1j, np.float32(3), np.int64(4), LOCKED, np.ma.array([1, 2], mask=[0, 1]),
    np.array([math.nan, 1]), np.ones((2, 3)), range(3), iter([1, 2]), object(), np.array([1.5]), np.array(7), float,
]  # fmt: skip
SERVING = list(rk.Serving.__slots__)
WORKLOAD = list(rk.Workload.__slots__)


def design(**serving):
    return rk.Design(model=MODEL, device=DEVICE, serving=rk.Serving(**serving))


def asked(field, value):
    serving, workload = ({field: value}, {}) if field in SERVING else ({}, {field: value})
    return rk.predict(design(**serving), rk.Workload(**workload))


@pytest.mark.parametrize("field", [*SERVING, *WORKLOAD])
def test_an_odd_number_gives_a_result_without_nan_or_one_sentence(field):
    sentences = []
    for value in ODD:
        try:
            found = asked(field, value)
        except ReckonerError as error:
            sentences.append(str(error))
            continue
        for metric in UNITS:
            seen = getattr(found, metric)
            if seen is None:
                continue
            assert not np.any(np.isnan(seen)), (value, metric)
            if np.all(np.isfinite(seen)):
                low, high = found.interval(metric)
                assert np.all(low <= seen), (value, metric)
                assert np.all(seen <= high), (value, metric)
    assert len(sentences) > 10
    for said in sentences:
        assert "\n" not in said
        assert len(said) < 600
        assert field.split("_")[0] in said.lower() or said.startswith("no "), said


CALLS = {
    "model": rk.model,
    "device": rk.device,
    "rate": rk.rate,
    "provider": lambda v: rk.rate("h100", v),
    "Design.model": lambda v: rk.Design(model=v, device=DEVICE),
    "Design.device": lambda v: rk.Design(model=MODEL, device=v),
    "Design.serving": lambda v: rk.Design(model=MODEL, device=DEVICE, serving=v),
    "Design.draft": lambda v: rk.Design(model=MODEL, device=DEVICE, draft=v),
    "predict": rk.predict,
    "workload": lambda v: rk.predict(design(), v),
    "usd_per_hour": lambda v: rk.predict(design(), usd_per_hour=v),
    "efficiency": lambda v: rk.predict(design(), efficiency=v),
    "metric": lambda v: rk.predict(design()).interval(v),
    "level": lambda v: rk.predict(design()).interval("e2e_s", v),
    "column": lambda v: rk.sweep(design(), batch=[1, 2]).column(v),
    "head": lambda v: rk.sweep(design(), batch=[1, 2]).head(v),
    "sort": lambda v: rk.sweep(design(), batch=[1, 2]).sort(v),
    "pareto": lambda v: rk.sweep(design(), batch=[1, 2]).pareto(minimise=v),
    "bound": lambda v: rk.sweep(design(), batch=[1, 2]).where(at_most={"e2e_s": v}),
    "at_most": lambda v: rk.sweep(design(), batch=[1, 2]).where(at_most=v),
    **{f"axis {name}": lambda v, name=name: rk.sweep(design(), **{name: v})
       for name in ("model", "device", "draft", "weights", "compute", "scheduler", "engine", "batch", "prefix_hit")},
    **{f"slo {name}": lambda v, name=name: rk.Slo(**{name: v}) for name in rk.Slo.__slots__},
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_an_odd_argument_gives_an_answer_or_one_sentence(call):
    sentences = []
    for value in ODD:
        try:
            CALLS[call](value)
        except ReckonerError as error:
            sentences.append(str(error))
    assert len(sentences) > 5
    assert not any("\n" in said for said in sentences)


def test_arrays_that_do_not_broadcast_are_named_with_their_shapes():
    with pytest.raises(InputError, match=r"arrays do not broadcast: batch \(2,\), tp \(3,\)"):
        design(batch=[1, 2], tp=[1, 2, 4])
    with pytest.raises(InputError, match=r"batch \(2,\), prompt_tokens \(3,\); give equal lengths, or use sweep"):
        rk.predict(design(batch=[1, 2]), rk.Workload(prompt_tokens=[1, 2, 3]))


def test_an_array_of_the_caller_is_neither_changed_nor_kept():
    mine = np.array([1.0, 8.0])
    found = rk.predict(design(batch=mine))
    before = np.array(found.tpot_s)
    mine[:] = -5.0
    assert np.array_equal(rk.predict(found.design).tpot_s, before)
    assert isinstance(rk.predict(design(batch=LOCKED)), Prediction)


def test_designs_of_different_formulas_are_explained_apart():
    with pytest.raises(InputError, match="prefill_replicas mixes designs that follow different formulas"):
        rk.predict(design(batch=4, prefill_replicas=[0, 1])).explain()


def test_a_table_beyond_the_memory_is_refused_before_anything_is_computed():
    with pytest.raises(InputError, match=r"1,000,000,000,000,000,000 designs need 64000 PB; give fewer values an axis"):
        rk.sweep(design(), batch=np.ones(10**6), prompt_tokens=np.ones(10**6), output_tokens=np.ones(10**6))
    with pytest.raises(InputError, match=r"1,000,000,000,000,000,000 designs do not fit into memory"):
        rk.predict(
            design(batch=np.ones((10**6, 1, 1))),
            rk.Workload(prompt_tokens=np.ones((10**6, 1)), output_tokens=np.ones(10**6)),
        )
