"""Every term of an explanation follows from its printed formula and the printed values of the others."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reckoner.catalogue.find import device, model
from reckoner.design import Design, Serving, Workload
from reckoner.errors import InputError, MissingFigureError
from reckoner.predict.efficiency import PRIOR
from reckoner.predict.prediction import predict

WORDS = {"given", "counted", "learned", "assumed", "searched"}
TOKEN = re.compile(r"\s*(\d+(?:\.\d+)?(?:e-?\d+)?|[^\W\d][\w]*(?:,[^\W\d]\w*)*|[-+/^(),⌈⌉⌊⌋\[\]>∞])")
CLOSE = {"(": ")", "⌈": "⌉", "⌊": "⌋", "[": "]"}
FUNCTIONS = {"max": np.maximum, "min": np.minimum, "log2": np.log2}


class Evaluator:
    """A formula as printed: a space multiplies, one division ends a product, [a > b] is 1 or 0."""

    def __init__(self, text, values):
        self.tokens, self.values, self.place = [], values, 0
        while text.strip():
            found = TOKEN.match(text)
            assert found, f"cannot read {text!r}"
            self.tokens.append(found[1])
            text = text[found.end() :]

    def result(self):
        with np.errstate(divide="ignore", invalid="ignore"):
            value = self.sum()
        assert self.place == len(self.tokens), self.tokens[self.place :]
        return value

    def peek(self):
        return self.tokens[self.place] if self.place < len(self.tokens) else ""

    def take(self, expected=None):
        token = self.peek()
        assert expected is None or token == expected, f"{token!r} where {expected!r} should be"
        self.place += 1
        return token

    def sum(self):
        value = self.product()
        while self.peek() in ("+", "-"):
            value = value + self.product() if self.take() == "+" else value - self.product()
        return value

    def product(self):
        value, divided = self.power(), False  # a / b / c is read from the left, a / b c is not read
        while self.peek() and self.peek() not in (*"+-,)]>⌉⌋",):
            assert not divided or self.peek() == "/", "a product after a division may be read in two ways"
            if self.peek() == "/":
                self.take()
                value, divided = value / self.power(), True
            else:
                value = value * self.power()
        return value

    def power(self):
        value = self.atom()
        while self.peek() == "^":
            self.take()
            value = value ** self.atom()
        return value

    def atom(self):
        token = self.take()
        if token in CLOSE:
            value = self.sum()
            if token == "[":
                self.take(">")
                value = np.where(value > self.sum(), 1.0, 0.0)
            self.take(CLOSE[token])
            return {"⌈": np.ceil, "⌊": np.floor}.get(token, lambda x: x)(value)
        if token in FUNCTIONS:
            self.take("(")
            parts = [self.sum()]
            while self.peek() == ",":
                self.take()
                parts.append(self.sum())
            self.take(")")
            return FUNCTIONS[token](*parts)
        if token == "∞":
            return np.inf
        if token[0].isdigit():
            return np.float64(token)
        assert token in self.values, f"{token} is no term"
        return np.float64(self.values[token])


def check(prediction, rel=1e-9):
    terms = prediction.explain()
    values = {term.symbol: term.value for term in terms}
    assert len(values) == len(terms), "one symbol, one term"
    computed = 0
    for term in terms:
        assert term.name
        assert term.source
        assert term.unit is not None
        if term.formula in WORDS:
            continue
        computed += 1
        loose = 1e-6 if term.symbol in ("B", "E") else rel  # what is inside is found by halving
        found = Evaluator(term.formula, values).result()
        assert np.all(np.isclose(found, term.value, rtol=loose, atol=0.0)), (term.symbol, term.formula, values)
    for symbol, name in (
        ("TTFT", "ttft_s"), ("TPOT", "tpot_s"), ("E2E", "e2e_s"), ("X", "requests_per_s"),
        ("v", "output_tokens_per_s"), ("M", "memory_bytes"), ("E", "j_per_token"), ("C", "usd_per_m_output_tokens"),
    ):  # fmt: skip
        assert values.get(symbol) is getattr(prediction, name), name
    assert computed > 20
    return values


def ask(name, on, given_, workload, **serving):
    design = Design(model=model(name), device=device(on), serving=Serving(**serving))
    return predict(design, workload, efficiency=given_, usd_per_hour=2.5)


MODELS = st.sampled_from([
    "llama-3.1-8b", "mixtral-8x7b", "deepseek-v3", "gemma-2-9b", "mamba-2.8b", "jamba-v0.1", "gpt-oss-120b", "gpt2",
    "qwen3-30b-a3b",
])  # fmt: skip
WORKLOADS = st.builds(
    Workload,
    prompt_tokens=st.sampled_from([1.0, 17.0, 1024.0, 3000.0, 60_000.0]),
    output_tokens=st.sampled_from([1.0, 2.0, 256.0]),
    prefix_hit=st.sampled_from([0.0, 0.0, 0.3]),
)
PLAIN = st.fixed_dictionaries({
    "batch": st.sampled_from([1.0, 2.0, 33.0, 256.0]),
    "tp": st.sampled_from([1.0, 2.0, 4.0, 8.0, 16.0]),
    "pp": st.sampled_from([1.0, 1.0, 3.0]),
    "ep": st.sampled_from([1.0, 1.0, 4.0]),
    "replicas": st.sampled_from([1.0, 3.0]),
    "weights": st.sampled_from(["bf16", "fp8", "int4", "mxfp4"]),
    "kv": st.sampled_from(["bf16", "fp8"]),
    "scheduler": st.sampled_from(["continuous", "static"]),
})  # fmt: skip
DEVICES = st.sampled_from(["h100", "mi300x", "rtx-4090"])
GIVEN = st.sampled_from([None, PRIOR])


def held(name, on, given_, workload, **serving):
    try:
        found = ask(name, on, given_, workload, **serving)
    except (InputError, MissingFigureError):
        return  # ranks that do not divide the heads, products that the device lacks
    check(found)


@given(MODELS, DEVICES, GIVEN, WORKLOADS, PLAIN)
def test_every_term_of_plain_serving_follows_from_the_others(name, on, given_, workload, serving):
    held(name, on, given_, workload, **serving)


@given(MODELS, GIVEN, st.sampled_from([0.01, 0.5, 4.0, 1000.0]), st.sampled_from([0.0, 2.0]), PLAIN)
def test_every_term_of_arrivals_follows_from_the_others(name, given_, rate, drafts, serving):
    workload = Workload(prompt_tokens=900, output_tokens=120, requests_per_s=rate)
    held(name, "h100", given_, workload, draft_tokens=drafts, **serving)


GAINS = st.fixed_dictionaries({
    "draft_tokens": st.sampled_from([0.0, 3.0]),
    "acceptance": st.sampled_from([0.0, 0.7, 1.0]),
    "token_budget": st.sampled_from([0.0, 2048.0]),
    "prefill_replicas": st.sampled_from([0.0, 2.0]),
    "prefill_tp": st.sampled_from([0.0, 2.0, 8.0]),
    "dp": st.sampled_from([1.0, 4.0]),
})  # fmt: skip


@given(MODELS, GIVEN, WORKLOADS, st.sampled_from([0.0, 0.5, 300.0]), PLAIN, GAINS)
def test_every_term_of_every_gain_follows_from_the_others(name, given_, workload, rate, serving, gains):
    asked = Workload(
        prompt_tokens=workload.prompt_tokens, output_tokens=workload.output_tokens, prefix_hit=workload.prefix_hit,
        requests_per_s=rate,
    )  # fmt: skip
    held(name, "h100", given_, asked, **(serving | gains))


@pytest.mark.parametrize("small", ["llama-3.2-1b", "qwen3-30b-a3b", "gemma-2-2b", "mamba-130m"])
@pytest.mark.parametrize("tp", [1, 16])
def test_every_term_of_a_draft_model_follows_from_the_others(small, tp):
    serving = Serving(batch=24, tp=tp, draft_tokens=4, token_budget=512)
    check(predict(Design(model=model("llama-3.1-405b"), device=device("h100"), serving=serving, draft=model(small))))


def test_arrays_are_explained_element_by_element():
    serving = Serving(batch=np.array([1.0, 8.0, 64.0]), token_budget=256.0)
    for scheduler in ("continuous", "static"):
        design = Design(model=model("mixtral-8x7b"), device=device("h100"), serving=serving)
        check(predict(design, Workload(prompt_tokens=700.0)))
        serving = Serving(batch=np.array([1.0, 8.0, 64.0]), tp=np.array([[1.0], [4.0]]), scheduler=scheduler)


def test_a_microcontroller_reads_its_weights_from_flash():
    small = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 172,
             "num_hidden_layers": 5, "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 512,
             "tie_word_embeddings": True}  # fmt: skip
    from reckoner.catalogue.model import Model

    on = device("rp2350")
    design = Design(model=Model.from_config(small, name="tiny"), device=on, serving=Serving(weights="int8", kv="int8"))
    values = check(predict(design, Workload(prompt_tokens=8, output_tokens=8)))
    assert values["M_w"] == 0.0
    assert values["M_f"] > 0.0


@pytest.mark.parametrize("text", ["a / b c", "a / (b", "max(a, b", "a ? b", "[a b]", "unknown + a"])
def test_the_evaluator_refuses_what_could_be_read_in_two_ways(text):
    with pytest.raises(AssertionError):
        Evaluator(text, {"a": 1.0, "b": 2.0, "c": 3.0}).result()


def test_the_evaluator_reads_what_a_person_would():
    values = {"a": 2.0, "b": 3.0, "t_d,w": 5.0}
    found = Evaluator("2 a^2 + [b > a] t_d,w / (a b) - ⌈b / a⌉ min(a, b)", values).result()
    assert found == pytest.approx(8 + 5 / 6 - 4)
