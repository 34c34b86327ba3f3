import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reckoner.catalogue.find import device, model
from reckoner.design import Design, Serving, Workload
from reckoner.errors import InputError
from reckoner.physics.parallel import transfer_s
from reckoner.physics.speculation import expected_tokens
from reckoner.predict.efficiency import PRIOR
from reckoner.predict.explain_gains import batch_limit
from reckoner.predict.pools import pooled
from reckoner.predict.prediction import predict
from reckoner.predict.sweep import sweep
from reckoner.predict.theory import SIGMA
from reckoner.predict.work import prefill_work

LLAMA, H100 = model("llama-3.1-8b"), device("h100")
DEEPSEEK = model("deepseek-v3")
WORK = Workload(prompt_tokens=2000, output_tokens=200)
METRICS = ("ttft_s", "tpot_s", "e2e_s", "requests_per_s", "memory_bytes", "j_per_token")
ENDLESS = 1e30  # a link that takes no time

batches = st.sampled_from([1.0, 2.0, 16.0, 100.0, 400.0])
drafted = st.integers(1, 8).map(float)
givens = st.sampled_from([None, PRIOR])


def ask(which=LLAMA, workload=WORK, given=None, draft=None, **serving):
    design = Design(model=which, device=H100, draft=draft, serving=Serving(**serving))
    return predict(design, workload, efficiency=given)


def same(a, b):
    for name in METRICS:
        assert getattr(a, name) == pytest.approx(getattr(b, name), rel=1e-12), name


@given(batches, givens, st.floats(0, 1))
def test_no_token_drafted_is_plain_decoding(batch, given_, acceptance):
    none = ask(batch=batch, given=given_, draft_tokens=[0.0], acceptance=acceptance)
    same(none, ask(batch=batch, given=given_))


@settings(deadline=None)
@given(batches, givens, drafted, st.floats(0, 1))
def test_drafts_that_are_never_accepted_never_speed_up(batch, given_, k, share):
    plain, lost = (
        ask(batch=batch, given=given_),
        ask(batch=batch, given=given_, draft_tokens=k, acceptance=0, draft_share=share),
    )
    for name in ("tpot_s", "e2e_s", "j_per_token"):
        assert getattr(lost, name) >= getattr(plain, name) * (1 - 1e-12), name
    assert lost.requests_per_s <= plain.requests_per_s * (1 + 1e-12)


@settings(deadline=None)
@given(batches, drafted, st.floats(0, 0.9), st.floats(0, 0.1))
def test_more_acceptance_never_slows_and_dearer_drafts_never_speed_up(batch, k, acceptance, more):
    before = ask(batch=batch, draft_tokens=k, acceptance=acceptance, draft_share=0.05)
    luckier = ask(batch=batch, draft_tokens=k, acceptance=acceptance + more, draft_share=0.05)
    dearer = ask(batch=batch, draft_tokens=k, acceptance=acceptance, draft_share=0.05 + more)
    assert luckier.tpot_s <= before.tpot_s * (1 + 1e-12) <= dearer.tpot_s * (1 + 1e-9)


def test_bandwidth_bound_drafts_reach_the_speedup_of_theory():
    bound = replace(PRIOR, mfu_decode=1e9)  # verification then costs what a plain step does
    plain, fast = (ask(given=bound, batch=1, draft_tokens=k, acceptance=0.8) for k in (0, 5))
    assert plain.tpot_s / fast.tpot_s == pytest.approx(expected_tokens(0.8, 5) / (1 + 5 * 0.05), rel=1e-3)


def test_a_draft_model_takes_its_own_step_and_its_own_memory():
    small = model("llama-3.2-1b")
    big = ask(draft_tokens=4, draft=small)
    alone = predict(Design(model=small, device=H100), WORK, efficiency=PRIOR)
    both = ask(draft_tokens=4, draft=small, given=PRIOR)
    verify = ask(draft_tokens=4, draft_share=0, given=PRIOR)
    assert both.outcome.step.total_s == pytest.approx(verify.outcome.step.total_s + 4 * alone.outcome.step.total_s)
    assert big.memory_bytes - ask().memory_bytes == pytest.approx(alone.memory.weights + alone.memory.kv)


def test_drafts_pay_up_to_a_batch_and_not_beyond():
    brief = Workload(prompt_tokens=32, output_tokens=32)  # long contexts are bound by their caches at any batch
    found = ask(workload=brief, draft_tokens=4, acceptance=0.6)
    limit = batch_limit(found)
    assert 1 < limit < 65536
    design = found.design
    for batch, faster in ((limit, True), (limit + 2, False)):
        plan_step = [
            replace(design, serving=replace(design.serving, draft_tokens=float(k), batch=batch)) for k in (0, 4)
        ]
        # at the efficiencies of the design asked about, as batch_limit says
        slow, fast = (predict(each, brief, efficiency=found.efficiency).outcome for each in plan_step)
        assert (fast.step.total_s / fast.progress <= slow.step.total_s) is faster
    assert batch_limit(ask(draft_tokens=4, acceptance=0)) == 0


def test_prompts_read_apart_over_an_endless_link_are_the_sum_of_both_servers():
    plain = ask(given=PRIOR, batch=1)
    apart = ask(given=PRIOR, batch=1, prefill_replicas=1, kv_link_bytes_per_s=ENDLESS)
    hop = transfer_s(0.0, 1.0, 5e-6)
    assert apart.ttft_s == pytest.approx(plain.outcome.own.total_s + hop, rel=1e-9)
    assert apart.tpot_s == pytest.approx(plain.outcome.step.total_s)
    assert apart.e2e_s == pytest.approx(plain.e2e_s + hop, rel=1e-9)
    assert apart.design.n_devices == 2


@settings(deadline=None)
@given(batches, givens, st.integers(1, 6), st.floats(1e8, 1e11), st.floats(1.1, 10))
def test_more_prefill_servers_and_faster_links_never_hurt(batch, given_, servers, link, factor):
    base = {"batch": batch, "given": given_, "replicas": 2}
    few = ask(prefill_replicas=servers, kv_link_bytes_per_s=link, **base)
    more = ask(prefill_replicas=servers + 1, kv_link_bytes_per_s=link, **base)
    faster = ask(prefill_replicas=servers, kv_link_bytes_per_s=link * factor, **base)
    for better in (more, faster):
        assert better.requests_per_s >= few.requests_per_s * (1 - 1e-9)
        assert better.e2e_s <= few.e2e_s * (1 + 1e-9)


@settings(deadline=None)
@given(batches, st.integers(1, 4), st.integers(1, 4))
def test_the_number_inside_obeys_little_s_law_in_both_pools(batch, servers, replicas):
    p = ask(batch=batch, prefill_replicas=servers, replicas=replicas)
    assert p.requests_per_s * p.e2e_s == pytest.approx(batch * replicas)
    decode_s = (WORK.output_tokens - 1) * p.tpot_s
    if p.outcome.batch > 1:
        assert p.requests_per_s * decode_s == pytest.approx(p.outcome.batch * replicas)


def test_decoding_apart_is_not_held_up_by_prompts():
    together, apart = ask(batch=64), ask(batch=64, prefill_replicas=4)
    assert apart.tpot_s < together.tpot_s
    assert apart.itl_max_s < together.itl_max_s


def test_arrivals_beyond_either_pool_wait_without_end():
    def open_(rate, **serving):
        workload = Workload(prompt_tokens=2000, output_tokens=200, requests_per_s=rate)
        return ask(workload=workload, batch=32, **serving)

    light, prefill_bound = open_(1.0, prefill_replicas=1), open_(60.0, prefill_replicas=1, replicas=8)
    assert (light.requests_per_s, light.overloaded) == (1.0, False)
    assert prefill_bound.overloaded
    decode_bound = open_(60.0, prefill_replicas=8, replicas=1)
    assert decode_bound.overloaded
    assert decode_bound.outcome.batch == 32
    assert open_(60.0, prefill_replicas=8, replicas=8).requests_per_s == 60.0


def test_an_answer_of_one_token_is_never_decoded():
    found = pooled(lambda b: 0.01 + 0.0 * b, 0.1, 0.05, 0.02, 1.0, 8.0, 1.0)
    assert found.inside == pytest.approx(0.0, abs=1e-9)
    assert found.requests_per_s == 20.0
    assert found.times.ttft_s == pytest.approx(8 / 20.0)


def test_a_budget_that_holds_the_whole_prompt_changes_nothing_but_workspace():
    plain, roomy = ask(batch=16), ask(batch=16, token_budget=4096)
    for name in ("ttft_s", "tpot_s", "requests_per_s"):
        assert getattr(roomy, name) == pytest.approx(getattr(plain, name), rel=1e-12), name


@settings(deadline=None)
@given(st.sampled_from([16.0, 64.0]), st.sampled_from([4096.0, 1024.0, 512.0]))
def test_smaller_chunks_shorten_the_longest_gap_and_lengthen_the_first_token(batch, budget):
    large, small = (ask(batch=batch, token_budget=each) for each in (budget, budget / 2))
    assert small.itl_max_s <= large.itl_max_s * (1 + 1e-3)  # never below the mean gap, which chunks raise a little
    assert small.ttft_s >= large.ttft_s * (1 - 1e-9)
    assert small.outcome.passes == math.ceil(2000 / (budget / 2 - batch))


def test_chunks_read_each_earlier_one_again():
    from reckoner.predict.work import shape_of

    shape = shape_of(LLAMA, 2.0, 2.0)
    whole, four = prefill_work(shape, 1.0, 1000.0), prefill_work(shape, 1.0, 1000.0, 0.0, 4.0)
    assert four.kv_bytes == pytest.approx(shape.kv_bytes_per_token * (0 + 250 + 500 + 750))
    assert (four.weight_bytes, four.n_layers) == (4 * whole.weight_bytes, 4 * whole.n_layers)
    assert four.flops == whole.flops


def test_data_parallel_attention_splits_caches_and_experts_but_not_dense_weights():
    both = {dp: ask(DEEPSEEK, weights="fp8", tp=16 / dp, dp=dp, ep=16, batch=64) for dp in (1, 2, 16)}
    experts = DEEPSEEK.experts
    dense = DEEPSEEK.params - experts.n_layers * experts.n_experts * experts.params_each
    assert {p.design.n_devices for p in both.values()} == {16.0}
    grown = both[16].memory.weights - both[1].memory.weights
    assert grown == pytest.approx(dense * (1 - 1 / 16), rel=1e-3)
    assert both[16].memory.kv == pytest.approx(both[1].memory.kv / 16)  # each rank of a latent cache holds all of it


@pytest.mark.parametrize(
    ("serving", "words"),
    [
        ({"draft_tokens": 4, "acceptance": 1.2}, r"acceptance is 1\.2; it is a probability"),
        ({"acceptance": -0.1}, r"acceptance is -0\.1; it must be at least 0"),
        ({"draft_tokens": 2.5}, r"draft_tokens is 2\.5; it must be a whole number"),
        ({"draft_tokens": 2, "draft_share": 1.5}, r"draft_share is 1\.5"),
        (
            {"prefill_replicas": 1, "scheduler": "static"},
            "prefill_replicas is 1; prompts are read apart under the cont",
        ),
        ({"kv_link_bytes_per_s": 0}, "kv_link_bytes_per_s is 0"),
        ({"batch": 64, "token_budget": 64}, "token_budget is 64; it must exceed the tokens of a decode step"),
        ({"batch": 64, "token_budget": 200, "draft_tokens": 3}, "token_budget is 200"),
        ({"dp": 2}, "dp is 2; llama-3.1-8b has no experts; copies of a dense model are replicas"),
        ({"prefill_replicas": 1, "prefill_tp": 3}, "prefill_tp is 3; it must divide the 32 heads"),
    ],
)
def test_a_gain_out_of_range_is_refused(serving, words):
    with pytest.raises(InputError, match=words):
        ask(**serving)


def test_a_draft_as_large_as_the_model_is_refused():
    with pytest.raises(InputError, match=r"draft llama-3\.1-8b is no smaller than llama-3\.1-8b"):
        ask(draft=LLAMA, draft_tokens=2)


def test_a_sweep_over_every_gain_agrees_with_single_predictions():
    axes = {
        "prefill_replicas": [0, 2],
        "draft_tokens": [0, 3],
        "token_budget": [0, 512],
        "requests_per_s": [0.0, 3.0],
        "batch": [1, 32],
    }
    base = Design(model=LLAMA, device=H100)
    grid = sweep(base, WORK, **axes)
    for row in grid.records():
        serving = {name: row[name] for name in axes if name != "requests_per_s"}
        one = ask(workload=replace(WORK, requests_per_s=row["arrivals_per_s"]), **serving)
        for name in METRICS:
            assert row[name] == pytest.approx(getattr(one, name), rel=1e-9), (name, serving)


def test_draft_models_are_an_axis():
    grid = sweep(Design(model=LLAMA, device=H100, serving=Serving(draft_tokens=4)), WORK, draft=["llama-3.2-1b"])
    assert grid.column("draft").tolist() == ["llama-3.2-1b"]
    assert grid.column("tpot_s")[0] == pytest.approx(ask(draft=model("llama-3.2-1b"), draft_tokens=4).tpot_s)


@pytest.mark.parametrize("given_", [None, PRIOR])
def test_intervals_are_wider_where_a_gain_rests_on_theory(given_):
    plain, both = ask(given=given_), ask(given=given_, draft_tokens=2, prefill_replicas=1)
    assert both.theory == ("disaggregation", "speculation")
    added = SIGMA["disaggregation"]["tpot"] ** 2 + SIGMA["speculation"]["tpot"] ** 2
    if given_ is None:
        assert both.sigma("tpot_s") ** 2 == pytest.approx(plain.sigma("tpot_s") ** 2 + added)
    assert both.sigma("tpot_s") > plain.sigma("tpot_s")
    assert both.to_dict()["theory"] == ["disaggregation", "speculation"]


def test_every_gain_is_explained_with_formula_and_source():
    p = ask(batch=8, draft_tokens=4, prefill_replicas=2, token_budget=512)
    terms = {term.symbol: term for term in p.explain()}
    for symbol in ("k", "a", "E_k", "B_d", "T_b", "c", "ITL_max", "x", "t_x", "t_y", "t_z", "X_p", "D", "σ_ttft"):
        assert terms[symbol].formula, symbol
        assert terms[symbol].source, symbol
    assert terms["D"].value == p.design.n_devices == 3
    assert terms["E_k"].value == pytest.approx(expected_tokens(0.7, 4))
    assert terms["X_p"].value == pytest.approx(2 / terms["t_z"].value)


def test_explanations_of_arrays_hold_arrays():
    p = ask(batch=[1, 8], draft_tokens=[0, 4], prefill_replicas=1)
    for term in p.explain():
        assert np.all(np.isfinite(term.value)), term.name
