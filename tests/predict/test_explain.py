import numpy as np
import pytest

from reckoner.catalogue.find import device, model
from reckoner.design import Design, Serving, Workload
from reckoner.errors import DoesNotFitError, InputError
from reckoner.predict.efficiency import IDEAL
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


def test_the_terms_of_a_step_add_up_to_it():
    t = terms(ask(batch=32, tp=2))
    memory = t["t_d,w"].value + t["t_d,kv"].value
    joined = (memory**4 + t["t_d,c"].value ** 4) ** 0.25
    assert joined + t["t_d,o"].value + t["t_d,l"].value == pytest.approx(t["t_d"].value, rel=1e-12)


def test_each_time_follows_from_the_bytes_and_limits_beside_it():
    t = terms(ask(tp=2))
    assert t["t_d,w"].value == pytest.approx(t["W"].value / (t["η_w"].value * 2 * t["β"].value), rel=1e-12)
    assert t["t_d,kv"].value == pytest.approx(t["Q"].value / (t["η_kv"].value * 2 * t["β"].value), rel=1e-12)
    assert t["t_d,c"].value == pytest.approx(t["F"].value / (t["η_d"].value * 2 * t["π"].value), rel=1e-12)
    assert t["t_p,c"].value == pytest.approx(t["F_p"].value / (t["η_p"].value * 2 * t["π"].value), rel=1e-12)


def test_the_metrics_are_among_the_terms():
    found = ask(batch=8)
    t = terms(found)
    assert (t["TTFT"].value, t["TPOT"].value, t["E2E"].value) == (found.ttft_s, found.tpot_s, found.e2e_s)
    assert t["M_w"].value + t["M_kv"].value + t["M_x"].value == found.memory_bytes


def test_no_symbol_stands_for_two_things():
    symbols = [term.symbol for term in ask(tp=2).explain()]
    assert len(symbols) == len(set(symbols))


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
    from reckoner.predict.efficiency import PRIOR

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
    with pytest.raises(DoesNotFitError, match="choose a device with more memory"):
        ask("llama-3.1-405b", "rtx-4090", workload=Workload(prompt_tokens=100_000)).require_fit()
