import re

import numpy as np
import pytest

from reckoner.catalogue.find import device, model
from reckoner.design import Design, Serving, Workload
from reckoner.errors import DoesNotFitError, InputError
from reckoner.predict.efficiency import IDEAL, PRIOR
from reckoner.predict.prediction import predict


def ask(name="llama-3.1-8b", on="h100", *, workload=None, **serving):
    return predict(Design(model=model(name), device=device(on), serving=Serving(**serving)), workload)


def terms(prediction):
    return {term.symbol: term for term in prediction.explain()}


def test_every_term_says_what_how_and_from_where():
    for term in ask("mixtral-8x7b", tp=4, pp=2, batch=16).explain():
        assert term.name
        assert term.symbol
        assert term.formula
        assert term.source
        assert np.all(np.isfinite(term.value))


def test_the_metrics_are_among_the_terms():
    found = ask(batch=8)
    t = terms(found)
    assert (t["TTFT"].value, t["TPOT"].value, t["E2E"].value) == (found.ttft_s, found.tpot_s, found.e2e_s)
    assert t["M_w"].value + t["M_kv"].value + t["M_x"].value == found.memory_bytes


@pytest.mark.parametrize(
    ("question", "bound", "words"),
    [
        ({}, "memory bandwidth", "a larger batch shares"),
        ({"batch": 512, "workload": Workload(prompt_tokens=4096)}, "memory bandwidth", "cache in fewer bits"),
        ({"workload": Workload(prompt_tokens=8192, output_tokens=1)}, "compute", "compute in fp8"),
        ({"tp": 8, "batch": 64}, "communication", "fewer tensor-parallel ranks"),
    ],
)
def test_the_sentence_names_what_binds_and_what_would_relieve_it(question, bound, words):
    serving = {k: v for k, v in question.items() if k != "workload"}
    design = Design(model=model("llama-3.1-8b"), device=device("h100"), serving=Serving(**serving))
    found = predict(design, question.get("workload"), efficiency=PRIOR)
    assert found.bound == bound
    assert words in found.why()


def test_fixed_costs_bind_a_tiny_model():
    found = predict(Design(model=model("gpt2"), device=device("h100")), efficiency=IDEAL)
    assert found.bound == "overhead"
    assert "captured graphs" in found.why()


def test_a_grid_has_no_single_sentence():
    with pytest.raises(InputError, match="the question holds 2 designs"):
        ask(batch=[1, 2]).why()


def test_a_grid_that_does_not_fit_gets_general_advice():
    with pytest.raises(DoesNotFitError, match="lower the batch or the context, or store weights in fewer bits"):
        ask("llama-3.1-70b", batch=[1, 64]).require_fit()


def test_where_nothing_would_fit_that_is_said():
    with pytest.raises(DoesNotFitError, match="not even together; choose a device with more memory"):
        ask("llama-3.1-405b", "raspberry-pi-5", workload=Workload(prompt_tokens=100_000)).require_fit()


@pytest.mark.parametrize(("name", "batch", "prompt"), [("llama-3.1-405b", 1, 1000), ("deepseek-v3", 64, 30_000)])
def test_where_no_single_change_fits_the_smallest_that_do_together_are_named(name, batch, prompt):
    workload = Workload(prompt_tokens=prompt)
    with pytest.raises(DoesNotFitError, match=r"together weights in \w+ and tp") as raised:
        ask(name, "rtx-4090", batch=batch, workload=workload).require_fit()
    said = str(raised.value)
    weights, ranks = re.search(r"weights in (\w+) and tp (\d+)", said).groups()
    least = 1.0 if "batch 1" in said else batch
    assert ask(name, "rtx-4090", batch=least, weights=weights, tp=float(ranks), workload=workload).fits
    assert not ask(name, "rtx-4090", batch=least, weights="int4", tp=float(ranks) / 2, workload=workload).fits


RELIEVED = [
    {},
    {"batch": 96, "workload": Workload(prompt_tokens=4096)},
    {"workload": Workload(prompt_tokens=8192, output_tokens=1)},
    {"tp": 8, "batch": 64},
    {"batch": 4, "workload": Workload(requests_per_s=1.0)},
]


@pytest.mark.parametrize("given_", [None, PRIOR])
@pytest.mark.parametrize("question", RELIEVED)
def test_relief_moves_a_prediction_as_it_says_and_the_best_comes_first(question, given_):
    serving = {k: v for k, v in question.items() if k != "workload"}
    design = Design(model=model("llama-3.1-8b"), device=device("h100"), serving=Serving(**serving))
    found = predict(design, question.get("workload"), efficiency=given_)
    eased = found.relief()
    assert eased
    gains = []
    for each in eased:
        again = predict(each.design, each.workload, efficiency=given_)
        assert (each.before, each.after) == (getattr(found, each.metric), getattr(again, each.metric))
        assert each.design != design or each.workload != found.workload
        gains.append(each.before / each.after if each.metric == "e2e_s" else each.after / each.before)
        assert again.fits
    assert gains == sorted(gains, reverse=True)
    assert gains[-1] > 1.01


def test_relief_is_of_what_binds():
    slow = Design(model=model("llama-3.1-8b"), device=device("h100"), serving=Serving(tp=8, batch=64))
    found = predict(slow, efficiency=PRIOR)
    assert found.bound == "communication"
    assert [each.change for each in found.relief()] == ["tp 4 and 2 replicas"]
    bound_by_weights = [each.change for each in ask().relief()]
    assert "batch 2" in bound_by_weights
    assert "weights in fp8" in bound_by_weights


def test_relief_never_offers_what_does_not_fit_or_cannot_be():
    tight = ask("llama-3.1-8b", "rtx-4090", batch=12, workload=Workload(prompt_tokens=3000))
    assert tight.fits
    assert "batch 24" not in [each.change for each in tight.relief()]  # no room
    alone = ask("smollm2-135m", "raspberry-pi-5")
    assert not any(each.change.startswith("tp") for each in alone.relief())  # no link


def test_a_grid_has_no_single_relief():
    with pytest.raises(InputError, match="the question holds 2 designs"):
        ask(batch=[1, 2]).relief()


def test_carbon_follows_from_the_energy_of_a_token():
    found = ask(batch=8)
    value, low, high = found.carbon_g(400, pue=1.2)
    assert value == pytest.approx(found.j_per_token * 1e6 * 1.2 / 3.6e6 * 400)
    assert low < value < high
    assert found.carbon_g(0)[0] == 0.0
    for wrong, said in (
        ({"grams_per_kwh": -1}, "grams_per_kwh is -1"),
        ({"grams_per_kwh": 1, "pue": 0.9}, "pue is 0.9"),
    ):
        with pytest.raises(InputError, match=said):
            found.carbon_g(**wrong)
