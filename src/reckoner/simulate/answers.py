"""Rows that are better played than computed: open loops, and closed loops of a recent vLLM that nobody measured.

The formula of :mod:`reckoner.predict.answer` knows no queue and no seats. What it has met it knows better than any
simulation; docs/adr/0007 says by what scores either was chosen.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reckoner.catalogue import find
from reckoner.catalogue.model import Model
from reckoner.design import Design, Serving
from reckoner.errors import ReckonerError, UnknownNameError
from reckoner.predict import effects, learned
from reckoner.predict.answer import Answer, Spans, answers, spans
from reckoner.predict.efficiency import Efficiency
from reckoner.predict.intervals import NOVELTIES
from reckoner.predict.quantities import basis, log_quantity
from reckoner.predict.rows import Rows
from reckoner.simulate.arrivals import Arrivals, poisson
from reckoner.simulate.cells import SINCE, Loops, is_mean, is_ranged
from reckoner.simulate.forecast import CACHE_SPREAD, drawn
from reckoner.simulate.kernel_layout import COMPILED
from reckoner.simulate.lengths import lognormal
from reckoner.simulate.prior import Front, front_of, is_served, scaled, served
from reckoner.simulate.run import simulate
from reckoner.simulate.schedulers import Continuous
from reckoner.simulate.server import Server, default_scheduler, server_of

Floats = NDArray[np.float64]

OPEN = {"openloop_tpot": "tpot", "openloop_ttft": "ttft"}
"""Kinds of open loops, and the latency that each asks for."""

CLOSED = ("serving_tpot", "serving_ttft", "serving_tput")
"""Kinds of closed loops."""

ENGINES = ("vllm",)
"""Engines whose closed loops are played: held out, those of TensorRT-LLM gain nothing by it and SGLang's lose."""

UNMET = NOVELTIES.index("new pairing")
"""Least novelty from which a closed loop is played; of what is nearer to measurements these say more."""

SHARE = 2.0 / 3.0
"""Weight of the simulation beside the formula, in the logarithm, for closed loops. Of a third, a half and two thirds
the one that left the least error while models, devices and sources were held out (seen 2026-11-21)."""

CLOSED_HALF_WIDTH = 0.6
"""Half of a 90 % interval of a closed loop so mixed: nine tenths of held-out errors were below 0.26 to 0.59, by kind
and by what was held out (seen 2026-11-21)."""

UNEXPLAINED = 0.25
"""Standard deviation, in the logarithm, of what the draws leave unexplained: with it 88 to 96 % of held-out closed
loops lay inside, by kind and by what was held out; without, 69 to 87 % (seen 2026-11-21)."""

REQUESTS, STREAMS, DRAWS = 300, 5, 24
"""Requests of an open loop, independent streams of the middle, draws of the interval. Assumption: recorded benchmarks
send some hundreds; where the server is overloaded the wait grows with their number."""

PROMPT_CV, OUTPUT_CV = 0.6, 0.15
"""Coefficients of variation of lengths, of which a row states the mean alone: those of the recorded runs in
``validation/simulation`` (ShareGPT)."""

SEATS = (256, 128)
"""Other limits of sequences that servers are launched with: vLLM's before 2025 and LLMServingSim's. Assumption: one
deployment in five each."""

MOST_OPEN_LOOPS = 1000
"""Different open loops of a file that are played, each about 30 ms; the rest is computed. Assumption: half a minute."""
MOST_CLIENTS, MOST_TOKENS = 4096, 200_000
"""Clients, and tokens of a prompt or an answer, beyond which a loop is computed. Assumption: it would take too long."""

_REACH = 1.645  # standard deviations to the edge of a 90 % interval
_AMPLE = 10**9  # tokens of cache of closed loops: benchmarks are sized to fit
_ALIKE = 0.1  # difference of size below which a shortened name means the same model
_TYPICAL_BATCH = 16.0  # at which the age of an engine is told. Assumption.


class Deployed(NamedTuple):
    """What serves a row: equal ones are prepared once."""

    model: str
    params_b: float
    device: str
    engine: str
    weights: str
    kv: str
    tp: float
    pp: float
    ep: float
    replicas: float
    age: float


@dataclass(frozen=True, slots=True)
class Known:
    """A deployment and what is expected of it."""

    design: Design
    efficiency: Efficiency
    front: Front
    scheduler: Continuous

    def server(self, **other: Any) -> Server:
        """Server of it, or of a draw of it."""
        taken: dict[str, Any] = {"efficiency": self.efficiency, "front": self.front, "scheduler": self.scheduler}
        return server_of(self.design, **(taken | other))


def answer(path: str | Path) -> list[Answer]:
    """Answer each row of a CSV file as :func:`reckoner.predict.answer.answer`, playing what is better played.

    Raises
    ------
    InputError
        The file is unreadable, holds no rows, or has a header of none of the schemas.
    """
    return [one for part in answers(path, revise=Player().revise) for one in part]


class Player:
    """Plays the rows of a file, equal ones once."""

    def __init__(self) -> None:
        self._deployed: dict[Deployed, Known | None] = {}
        self._servers: dict[Deployed, Server] = {}
        self._open: dict[tuple[Any, ...], Mapping[str, tuple[float, float, float]] | None] = {}
        self._closed: dict[tuple[Any, ...], Mapping[str, float] | None] = {}

    def revise(self, rows: Rows, found: learned.Answers) -> Spans:
        """Replace the answers to rows that are better played; without compiled kernels none is."""
        log, low, high = (np.array(column) for column in spans(found))
        if not COMPILED:
            return Spans(log, low, high)
        label, x = rows.label, rows.number
        opened = np.isin(label["kind"], list(OPEN)) & (np.nan_to_num(x["rate"]) > 0.0)
        closed = np.isin(label["kind"], CLOSED) & np.isin(label["family"], ENGINES) & (found.new >= UNMET)
        clients = np.nan_to_num(x["batch"])
        closed &= (x["year"] >= SINCE) & (clients >= 1.0) & (clients <= MOST_CLIENTS)
        wanted = (opened | closed) & (x["disagg"] == 0.0) & (x["dp"] == 0.0)
        wanted &= (x["n_in"] >= 1.0) & (x["n_in"] <= MOST_TOKENS) & (x["n_out"] <= MOST_TOKENS)
        index = np.flatnonzero(wanted)
        ages = _ages(rows, index)
        for i, age in zip(index.tolist(), ages.tolist(), strict=True):
            who = _deployed(rows, i, age)
            if opened[i]:
                seen = self._opened(who, float(x["rate"][i]), float(x["n_in"][i]), float(x["n_out"][i]))
                if seen is not None:
                    log[i], low[i], high[i] = seen[OPEN[str(label["kind"][i])]]
                continue
            value = self._closed_log(who, rows, i)
            if value is not None:
                half = CLOSED_HALF_WIDTH * (1.0 + 0.3 * float(rows.assumed[i]))
                log[i] = SHARE * value + (1.0 - SHARE) * log[i]
                low[i], high[i] = log[i] - half, log[i] + half
        return Spans(log, low, high)

    def _known(self, who: Deployed) -> Known | None:
        if who not in self._deployed:
            try:
                self._deployed[who] = _known(who)
            except ReckonerError:  # a name or a format that the catalogue does not have, a model that does not fit
                self._deployed[who] = None
        return self._deployed[who]

    def _opened(
        self, who: Deployed, rate: float, prompt: float, output: float
    ) -> Mapping[str, tuple[float, float, float]] | None:
        key = (who, rate, prompt, output)
        if key not in self._open:
            known = self._known(who) if len(self._open) < MOST_OPEN_LOOPS else None
            try:
                self._open[key] = None if known is None else _play_open(known, rate, prompt, output)
            except ReckonerError:
                self._open[key] = None
        return self._open[key]

    def _closed_log(self, who: Deployed, rows: Rows, i: int) -> float | None:
        x, kind = rows.number, str(rows.label["kind"][i])
        scenario = str(rows.label["scenario"][i])
        clients, prompt, output = (float(x[name][i]) for name in ("batch", "n_in", "n_out"))
        ranged = is_ranged(scenario)
        key = (who, np.floor(clients), prompt, output, ranged)
        if key not in self._closed:
            known = self._known(who)
            try:
                self._closed[key] = None if known is None else self._play_closed(who, known, key[1:])
            except ReckonerError:
                self._closed[key] = None
        seen = self._closed[key]
        if seen is None:
            return None
        return seen["mean_ttft" if kind == "serving_ttft" and is_mean(scenario) else kind]

    def _play_closed(self, who: Deployed, known: Known, loop: tuple[Any, ...]) -> Mapping[str, float] | None:
        clients, prompt, output, ranged = loop
        if who not in self._servers:
            limits = Continuous(max_seqs=max(known.scheduler.max_seqs, MOST_CLIENTS), token_budget=8192)
            self._servers[who] = known.server(scheduler=limits, kv_tokens=_AMPLE)
        one, shares = np.ones(1), 0.8 if ranged else 1.0
        loops = Loops(clients * one, prompt * one, max(output, 2.0) * one, one, one, least=shares)
        found = simulate(self._servers[who], loops.arrivals()[0])
        first_s, gap_s = found.latency_s("ttft"), found.latency_s("tpot")
        seen = {
            "serving_tpot": float(np.median(gap_s)),
            "serving_ttft": float(np.median(first_s)),
            "mean_ttft": float(first_s.mean()),
            "serving_tput": found.makespan_s / found.tokens_out,
        }
        return {name: float(np.log(value)) for name, value in seen.items()} if min(seen.values()) > 0.0 else None


def _deployed(rows: Rows, i: int, age: float) -> Deployed:
    label, x = rows.label, rows.number
    ranks, stages, experts = (float(x[name][i]) for name in ("tp", "pp", "ep"))
    devices = float(x["n"][i])
    stages = stages if stages >= 1.0 else 1.0
    closed = str(label["kind"][i]) in CLOSED
    if closed:  # ranks that share experts share the layer
        ranks = max(ranks if ranks >= 1.0 else 1.0, devices / stages)
    else:
        ranks = ranks if ranks >= 1.0 else devices / stages
    return Deployed(
        model=str(label["model"][i]),
        params_b=float(x["params_b"][i]),
        device=str(label["hardware"][i]),
        engine=str(label["family"][i]),
        weights=_format(label["dtype"][i]) or "bf16",
        kv=_format(label["kv_dtype"][i]),
        tp=ranks,
        pp=stages,
        ep=experts if not closed and 1.0 <= experts <= ranks else 1.0,
        replicas=1.0 if closed else max(float(int(devices / (ranks * stages))), 1.0),
        age=round(age, 3),
    )


def _format(text: object) -> str:
    return str(text).replace("(assumed)", "").strip().lower()


def _known(who: Deployed) -> Known | None:
    serving = Serving(engine=who.engine, weights=who.weights, tp=who.tp, pp=who.pp, ep=who.ep, replicas=who.replicas)
    if who.kv in ("fp8", "int8"):
        serving = replace(serving, kv=who.kv)
    design = Design(model=_model(who.model, who.params_b), device=find.device(who.device), serving=serving)
    if not is_served(design):
        return None
    efficiency, front = served(design), front_of(design)
    if who.age > 0.0:
        slower = np.array([-who.age, -who.age, who.age])
        efficiency = replace(scaled(efficiency, slower), covariance=efficiency.covariance)
        front = replace(front, seconds=front.seconds * float(np.exp(who.age)))
    return Known(design, efficiency, front, default_scheduler(design.device))


def _model(name: str, params_b: float) -> Model:
    """Look up a model; of a name that the catalogue does not have, less its publisher and what was made of it.

    >>> _model("someone/Llama-3.1-8B-Instruct-FP8-dynamic", 8.03).name
    'llama-3.1-8b'

    Raises
    ------
    UnknownNameError
        No beginning of it names a model of that size.
    """
    try:
        return find.model(name)
    except UnknownNameError:
        words = name.rsplit("/", 1)[-1].split("-")
        for n in range(len(words), 1, -1):
            with contextlib.suppress(UnknownNameError):
                found = find.model("-".join(words[:n]))
                if abs(found.params / (1e9 * params_b) - 1.0) < _ALIKE:
                    return found
        raise


def _play_open(known: Known, rate: float, prompt: float, output: float) -> dict[str, tuple[float, float, float]] | None:
    """Logarithms of the mean latencies of an open loop, with the ends of their intervals."""
    lengths = lognormal(max(prompt, 1.0), max(output, 1.0), prompt_cv=PROMPT_CV, output_cv=OUTPUT_CV)
    streams = [poisson(rate, lengths, n=REQUESTS, seed=seed) for seed in range(STREAMS)]
    middle = known.server()
    each = np.array([_means(middle, stream) for stream in streams])
    rng = np.random.default_rng(0)
    draws = np.array([_means(_draw(known, middle, rng), streams[0]) for _ in range(DRAWS)])
    if not (np.all(np.isfinite(each)) and np.all(np.isfinite(draws))):
        return None
    value = np.log(np.mean(np.exp(each), axis=0))
    down, up = np.quantile(draws, [0.05, 0.95], axis=0) - each[0]
    # The wait is also a matter of chance; the spread between streams says by how much.
    rest = _REACH * np.hypot(UNEXPLAINED, each.std(axis=0, ddof=1))
    low, high = value - np.hypot(np.minimum(down, 0.0), rest), value + np.hypot(np.maximum(up, 0.0), rest)
    ends = zip(OPEN.values(), value.tolist(), low.tolist(), high.tolist(), strict=True)
    return {name: (v, a, b) for name, v, a, b in ends}


def _draw(known: Known, middle: Server, rng: np.random.Generator) -> Server:
    efficiency = drawn(known.efficiency, rng)
    front = replace(known.front, seconds=known.front.seconds * float(np.exp(known.front.sd * rng.standard_normal())))
    cache, seats = float(np.exp(CACHE_SPREAD * rng.standard_normal())), rng.integers(0, 5)
    scheduler = known.scheduler
    if seats < len(SEATS) and SEATS[seats] < scheduler.max_seqs:
        scheduler = replace(scheduler, max_seqs=SEATS[seats])
    tokens = None if middle.kv_tokens is None else max(int(middle.kv_tokens * cache), 1)
    return known.server(efficiency=efficiency, front=front, scheduler=scheduler, kv_tokens=tokens)


def _means(server: Server, arrivals: Arrivals) -> list[float]:
    found = simulate(server, arrivals)
    values = [found.latency_s(metric) for metric in OPEN.values()]
    return [float(np.log(v.mean())) if len(v) and v.mean() > 0.0 else float("nan") for v in values]


def _ages(rows: Rows, index: NDArray[np.intp]) -> Floats:
    """How much slower an engine's steps were at a row's date than those that the pool learned from, as a logarithm.

    The formula's own effects of the date say so; a row without one counts as recent.
    """
    out = np.zeros(len(index))
    dated = np.array([bool(str(rows.label["date"][i])) and rows.number["year"][i] < SINCE for i in index], dtype=bool)
    if not dated.any():
        return out
    part = rows.take(index[dated])
    as_tpot = {"kind": "serving_tpot", "group": "tpot", "timed": "tpot"}
    label = {k: np.full_like(v, as_tpot[k]) if k in as_tpot else v for k, v in part.label.items()}
    prior, logs = learned.packaged(), []
    for year in (part.number["year"], np.full(len(part), SINCE)):
        at = Rows(dict(part.number) | {"year": year, "batch": np.full(len(part), _TYPICAL_BATCH)}, label, part.assumed)
        base = basis(at)
        u = effects.apply(effects.parts(at, base, prior.words), prior.coefficients, len(at))
        logs.append(log_quantity(at, base, u))
    out[dated] = np.clip(logs[0] - logs[1], 0.0, 1.5)
    return out
