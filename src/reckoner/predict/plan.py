"""A design made ready: its numbers are taken out once; then every metric is arithmetic that broadcasts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple

from reckoner.design import Design, Workload
from reckoner.physics import energy
from reckoner.physics.arrays import Floats, maximum, minimum, where
from reckoner.physics.kvcache import round_to_blocks
from reckoner.physics.parallel import transfer_s
from reckoner.predict import deployment, quantities
from reckoner.predict.combine import Parts, decode_parts, prefill_parts
from reckoner.predict.deployment import Deployment, Factors, Point, features
from reckoner.predict.efficiency import Efficiency
from reckoner.predict.serving import Times, closed_loop_times, open_loop_times, scaled, static_times
from reckoner.predict.terms import ACTIVATION_BYTES, HOP_S, Limits, Terms, Work, terms
from reckoner.predict.work import Shape, decode_work, kv_copies, prefill_work, sequence_bytes, shape_of

POWER_SHARE = quantities._POWER_SHARE
"""Unit of the learned effect on power."""

CHUNK_TOKENS = 8192.0
"""Tokens that an engine passes at once: vLLM's max_num_batched_tokens on large GPUs (docs.vllm.ai, 2026-11-20)."""

ACTIVATION_COPIES = 12.0
"""Activations of width ``hidden`` alive at the peak of a pass. Assumption: a Llama block's residual stream and its
gated inner layer, 3.5 times as wide."""

RUNTIME_BYTES = {"gpu": 0.8e9, "accelerator": 0.8e9}
"""Driver context, libraries and captured graphs on each device, by class; nothing elsewhere. Assumption. [byte]"""

IDLE_SHARE = 0.1
"""Power at rest over the power limit, where the catalogue has no idle figure. Assumption: an H100's 70 W of 700 W."""


class Numbers(NamedTuple):
    """The numeric axes of a question: floats, or arrays that broadcast."""

    batch: Floats
    tp: Floats
    pp: Floats
    ep: Floats
    replicas: Floats
    prompt_tokens: Floats
    output_tokens: Floats
    requests_per_s: Floats
    prefix_hit: Floats


class Memory(NamedTuple):
    """Bytes on each device; weights that a microcontroller keeps in flash stand apart."""

    weights: Floats
    kv: Floats
    workspace: Floats
    flash: Floats

    @property
    def total(self) -> Floats:
        """All but flash."""
        return self.weights + self.kv + self.workspace


class Outcome(NamedTuple):
    """All that is computed for a question: a decode step, one prompt's prefill, all the batch's prompts' prefills.

    ``batch`` is what was asked for, or the mean number inside that an open loop leads to. ``least`` are the times at
    the printed limits, which no deployment beats.
    """

    batch: Floats
    step: Parts
    own: Parts
    whole: Parts
    times: Times
    least: Times
    requests_per_s: Floats
    memory: Memory
    busy: Floats
    j_per_token: Floats | None
    factors: Factors


def numbers_of(design: Design, workload: Workload) -> Numbers:
    """Take the numeric axes out of a question."""
    s, w = design.serving, workload
    return Numbers(
        s.batch, s.tp, s.pp, s.ep, s.replicas, w.prompt_tokens, w.output_tokens, w.requests_per_s, w.prefix_hit
    )


def shared_batch(batch: Floats, pp: Floats) -> Floats:
    """Sequences that share one pass: the stages of a pipeline work on different parts of the batch."""
    return maximum(batch / pp, 1.0)


@dataclass(slots=True)
class Plan:
    """The numbers of a design that no axis changes; what was learned about it is looked up when first needed."""

    design: Design
    shape: Shape
    bandwidth_bytes_per_s: float
    peak_flop_per_s: float
    link_bytes_per_s: float
    runtime_bytes: float
    idle_w: float
    tdp_w: float | None
    static: bool
    in_flash: bool
    _deployment: Deployment | None = None

    @property
    def deployment(self) -> Deployment:
        """What was learned about designs like this one."""
        if self._deployment is None:
            self._deployment = deployment.deployment_of(self.design)
        return self._deployment

    def factors(self, x: Mapping[str, Floats], given: Efficiency | None = None) -> Factors:
        """Efficiencies and factors that were learned, at these features; or those given, and nothing besides."""
        if given is not None:
            return Factors(given, given, 1.0, 1.0, None)
        return self.deployment.factors(x)

    def outcome(self, numbers: Numbers, given: Efficiency | None = None) -> Outcome:
        """Compute every metric; what broadcasts in, broadcasts out.

        Parameters
        ----------
        numbers : Numbers
            Where.
        given : Efficiency, optional
            In place of what was learned; quantities then follow from the terms alone.
        """
        _, _, pp, _, replicas, prompt, output, arrivals, hit = numbers
        x = features(point_of(numbers))
        factors = self.factors(x, given)
        efficiency = factors.efficiency
        limits = self._limits(numbers)
        prefix = prompt * hit
        own_terms = self._terms(prefill_work(self.shape, 1.0, prompt - prefix, prefix), limits, pp)
        own = prefill_parts(own_terms, factors.first)
        batch, opened = numbers.batch, None
        active: Floats = 1.0  # share of time in which anything runs
        if not (isinstance(arrivals, float) and arrivals == 0.0):
            opened, inside = self._open_loop(numbers, factors, limits, own_terms)
            batch, active = where(arrivals > 0.0, maximum(inside, 1.0), batch), minimum(inside, 1.0)
        step_terms = self._step_terms(numbers, limits, batch)
        step = decode_parts(step_terms, efficiency)
        whole_terms, whole = own_terms, own
        alone = isinstance(batch, float) and batch == 1.0
        if not alone:
            whole_terms = self._terms(prefill_work(self.shape, batch, prompt - prefix, prefix), limits, pp)
            whole = prefill_parts(whole_terms, factors.first)
        if self.static or alone:
            seen = static_times(step.total_s, whole.total_s, output)
        else:
            # The launches of a prefill are shared with the decode step that it rides on.
            riding = whole if factors.first is efficiency else prefill_parts(whole_terms, efficiency)
            seen = closed_loop_times(
                step.total_s,
                own.total_s,
                (whole.total_s - whole.layers_s) / pp,
                (riding.total_s - riding.layers_s) / pp,
                batch,
                output,
                factors.first.queue,
            )
        least = static_times(_limit_s(step_terms), _limit_s(own_terms), output)
        times = scaled(seen, factors.ttft, factors.tpot, least, output)
        rate = batch / times.e2e_s  # of one replica, Little's law
        if opened is not None:
            rate = where((arrivals > 0.0) & (opened.e2e_s < math.inf), arrivals / replicas, rate)
            times = Times(*(where(arrivals > 0.0, a, b) for a, b in zip(opened, times, strict=True)))
        # What the printed limits would take for a request, times the requests.
        busy = minimum(rate / batch * (_limit_s(whole_terms) / pp + output * _limit_s(step_terms)), 1.0)
        requests_per_s = rate * replicas
        j_per_token = None
        if self.tdp_w is not None:
            if factors.energy is not None:
                nominal_w = POWER_SHARE * self.tdp_w * factors.energy * self.deployment.power(x, step_terms)
                each_w = self.idle_w + maximum(nominal_w - self.idle_w, 0.0) * active
            else:
                each_w = energy.power_w(self.idle_w, self.tdp_w, busy)
            devices = numbers.tp * pp * replicas
            j_per_token = energy.joules_per_token(each_w * devices, requests_per_s * output)
        return Outcome(
            batch, step, own, whole, times, least, requests_per_s, self.memory(numbers), busy, j_per_token, factors
        )

    def memory(self, numbers: Numbers) -> Memory:
        """Bytes on each device that the design cannot do without."""
        batch, tp, pp, _, _, prompt, output, _, _ = numbers
        shape, split = self.shape, tp * pp
        sequence = sequence_bytes(shape, round_to_blocks(prompt + output))
        tokens = maximum(minimum(batch * prompt, CHUNK_TOKENS), batch)
        weights = shape.weight_bytes / split
        return Memory(
            0.0 * weights if self.in_flash else weights,
            batch * sequence * kv_copies(shape.kv_heads, tp) / split,
            self.runtime_bytes + ACTIVATION_COPIES * ACTIVATION_BYTES * shape.hidden * tokens / tp,
            weights if self.in_flash else 0.0 * weights,
        )

    def _step_terms(self, numbers: Numbers, limits: Limits, batch: Floats) -> Terms:
        context = numbers.prompt_tokens + 0.5 * numbers.output_tokens
        return self._terms(decode_work(self.shape, shared_batch(batch, numbers.pp), context), limits, numbers.pp)

    def _open_loop(self, numbers: Numbers, factors: Factors, limits: Limits, own_terms: Terms) -> tuple[Times, Floats]:
        """Times under random arrivals, and the mean number inside."""

        def step_s(batch: Floats) -> Floats:
            return decode_parts(self._step_terms(numbers, limits, batch), factors.efficiency).total_s * factors.tpot

        arrivals = numbers.requests_per_s / numbers.replicas
        riding = prefill_parts(own_terms, factors.efficiency)
        work_s = (riding.total_s - riding.layers_s) / numbers.pp * factors.tpot
        own_s = prefill_parts(own_terms, factors.first).total_s * factors.ttft
        return open_loop_times(step_s, own_s, work_s, arrivals, numbers.batch, numbers.output_tokens)

    def _limits(self, numbers: Numbers) -> Limits:
        sharers = tp = numbers.tp
        return Limits(self.bandwidth_bytes_per_s, self.peak_flop_per_s, self.link_bytes_per_s, sharers, tp, numbers.ep)

    def _terms(self, work: Work, limits: Limits, pp: Floats) -> Terms:
        found = terms(work, limits)
        if isinstance(pp, float) and pp == 1.0:
            return found
        hop_s = transfer_s(ACTIVATION_BYTES * work.hidden * work.tokens, self.link_bytes_per_s, HOP_S)
        return Terms(
            weights_s=found.weights_s,
            kv_s=found.kv_s,
            compute_s=found.compute_s,
            layers_s=found.layers_s,
            link_s=found.link_s + (pp - 1.0) * hop_s,
        )


def prepare(design: Design) -> Plan:
    """Take the numbers out of a design; kept for the designs asked about last.

    Raises
    ------
    MissingFigureError
        Several devices are to share a model and the catalogue has no link for them.
    """
    kept = _PLANS.get(id(design))
    if kept is not None and kept.design is design:  # a plan holds its design, so its id is not given away
        return kept
    device, serving = design.device, design.serving
    several = not (isinstance(serving.tp * serving.pp, float) and serving.tp * serving.pp == 1.0)
    plan = Plan(
        design=design,
        shape=shape_of(design.model, design.weights_format.bytes_per_element, design.kv_format.bytes_per_element),
        bandwidth_bytes_per_s=device.bandwidth_bytes_per_s,
        peak_flop_per_s=design.peak_flop_per_s,
        link_bytes_per_s=device.figure("link_bytes_per_s") if several else float("inf"),
        runtime_bytes=RUNTIME_BYTES.get(device.device_class, 0.0),
        idle_w=device.idle_w if device.idle_w is not None else IDLE_SHARE * (device.tdp_w or 0.0),
        tdp_w=device.tdp_w,
        static=serving.scheduler == "static",
        in_flash=device.tier == "tinyml" and device.flash_bytes is not None,
    )
    with _LOCK:
        if len(_PLANS) >= _KEPT:
            _PLANS.pop(next(iter(_PLANS)))
        _PLANS[id(design)] = plan
    return plan


_KEPT = 256
_PLANS: dict[int, Plan] = {}
_LOCK = Lock()  # of writers; a reader checks that the plan it found is of its own design


def point_of(numbers: Numbers) -> Point:
    """Numbers that learned slopes act on."""
    n = numbers
    return Point(n.batch, n.tp, n.pp, n.ep, n.prompt_tokens, n.output_tokens)


def _limit_s(terms_: Terms) -> Floats:
    return maximum(terms_.weights_s + terms_.kv_s, terms_.compute_s)
