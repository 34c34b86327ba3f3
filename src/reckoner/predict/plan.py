"""A design made ready: its numbers are taken out once; then every metric is arithmetic that broadcasts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from reckoner.design import Design, Workload
from reckoner.physics import energy
from reckoner.physics.arrays import Floats, maximum, minimum, where
from reckoner.physics.kvcache import round_to_blocks
from reckoner.physics.parallel import transfer_s
from reckoner.predict.combine import Parts, decode_parts, prefill_parts
from reckoner.predict.efficiency import Efficiency
from reckoner.predict.serving import Times, closed_loop_times, open_loop_times, static_times
from reckoner.predict.terms import ACTIVATION_BYTES, HOP_S, Limits, Terms, Work, terms
from reckoner.predict.work import Shape, decode_work, kv_copies, prefill_work, sequence_bytes, shape_of

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
    activations: Floats
    runtime: Floats
    flash: Floats

    @property
    def total(self) -> Floats:
        """All but flash."""
        return self.weights + self.kv + self.activations + self.runtime


class Outcome(NamedTuple):
    """All that is computed for a question: a decode step, one prompt's prefill, all the batch's prompts' prefills.

    ``batch`` is what was asked for, or the mean number inside that an open loop leads to.
    """

    batch: Floats
    step: Parts
    own: Parts
    whole: Parts
    times: Times
    requests_per_s: Floats
    memory: Memory
    busy: Floats
    j_per_token: Floats | None


def numbers_of(design: Design, workload: Workload) -> Numbers:
    """Take the numeric axes out of a question."""
    s, w = design.serving, workload
    return Numbers(
        s.batch, s.tp, s.pp, s.ep, s.replicas, w.prompt_tokens, w.output_tokens, w.requests_per_s, w.prefix_hit
    )


def shared_batch(batch: Floats, pp: Floats) -> Floats:
    """Sequences that share one pass: the stages of a pipeline work on different parts of the batch."""
    return maximum(batch / pp, 1.0)


@dataclass(frozen=True, slots=True)
class Plan:
    """The numbers of a design that no axis changes."""

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

    def outcome(self, numbers: Numbers, efficiency: Efficiency) -> Outcome:
        """Compute every metric; what broadcasts in, broadcasts out."""
        _, _, pp, _, replicas, prompt, output, arrivals, hit = numbers
        limits = self._limits(numbers)
        prefix = prompt * hit
        own_terms = self._terms(prefill_work(self.shape, 1.0, prompt - prefix, prefix), limits, pp)
        own = prefill_parts(own_terms, efficiency)
        closed = isinstance(arrivals, float) and arrivals == 0.0
        batch, opened = numbers.batch, None
        if not closed:
            opened, batch = self._open_loop(numbers, efficiency, limits, own)
        step_terms = self._step_terms(numbers, limits, batch)
        step = decode_parts(step_terms, efficiency)
        whole_terms, whole = own_terms, own
        alone = isinstance(batch, float) and batch == 1.0
        if not alone:
            whole_terms = self._terms(prefill_work(self.shape, batch, prompt - prefix, prefix), limits, pp)
            whole = prefill_parts(whole_terms, efficiency)
        if self.static or alone:
            times = static_times(step.total_s, whole.total_s, output)
        else:
            # The launches of a prefill are shared with the decode step that it rides on.
            all_s = (whole.total_s - whole.layers_s) / pp
            times = closed_loop_times(step.total_s, own.total_s, all_s, batch, output, efficiency.queue)
        rate = batch / times.e2e_s  # of one replica, Little's law
        if opened is not None:
            rate = where((arrivals > 0.0) & (opened.e2e_s < math.inf), arrivals / replicas, rate)
            times = Times(*(where(arrivals > 0.0, a, b) for a, b in zip(opened, times, strict=True)))
        # What the printed limits would take for a request, times the requests.
        busy = minimum(rate / batch * (_limit_s(whole_terms) / pp + output * _limit_s(step_terms)), 1.0)
        requests_per_s = rate * replicas
        return Outcome(
            batch,
            step, own, whole, times, requests_per_s, self.memory(numbers), busy,
            self._energy(numbers, busy, requests_per_s * output),
        )  # fmt: skip

    def _step_terms(self, numbers: Numbers, limits: Limits, batch: Floats) -> Terms:
        context = numbers.prompt_tokens + 0.5 * numbers.output_tokens
        return self._terms(decode_work(self.shape, shared_batch(batch, numbers.pp), context), limits, numbers.pp)

    def _open_loop(self, numbers: Numbers, efficiency: Efficiency, limits: Limits, own: Parts) -> tuple[Times, Floats]:
        """Times under random arrivals, and the batch that they lead to (the one asked for where none arrive)."""

        def step_s(batch: Floats) -> Floats:
            return decode_parts(self._step_terms(numbers, limits, batch), efficiency).total_s

        arrivals = numbers.requests_per_s / numbers.replicas
        work_s = (own.total_s - own.layers_s) / numbers.pp
        times, inside = open_loop_times(step_s, own.total_s, work_s, arrivals, numbers.batch, numbers.output_tokens)
        return times, where(arrivals > 0.0, maximum(inside, 1.0), numbers.batch)

    def memory(self, numbers: Numbers) -> Memory:
        """Bytes on each device."""
        batch, tp, pp, _, _, prompt, output, _, _ = numbers
        shape, split = self.shape, tp * pp
        sequence = sequence_bytes(shape, round_to_blocks(prompt + output))
        tokens = maximum(minimum(batch * prompt, CHUNK_TOKENS), batch)
        weights = shape.weight_bytes / split
        return Memory(
            0.0 * weights if self.in_flash else weights,
            batch * sequence * kv_copies(shape.kv_heads, tp) / split,
            ACTIVATION_COPIES * ACTIVATION_BYTES * shape.hidden * tokens / tp,
            self.runtime_bytes,
            weights if self.in_flash else 0.0 * weights,
        )

    def _limits(self, numbers: Numbers) -> Limits:
        return Limits(
            bandwidth_bytes_per_s=self.bandwidth_bytes_per_s,
            peak_flop_per_s=self.peak_flop_per_s,
            link_bytes_per_s=self.link_bytes_per_s,
            sharers=numbers.tp,
            tp=numbers.tp,
            ep=numbers.ep,
        )

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

    def _energy(self, numbers: Numbers, busy: Floats, tokens_per_s: Floats) -> Floats | None:
        if self.tdp_w is None:
            return None
        each_w = energy.power_w(self.idle_w, self.tdp_w, busy)
        return energy.joules_per_token(each_w * (numbers.tp * numbers.pp * numbers.replicas), tokens_per_s)


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
    if len(_PLANS) >= _KEPT:
        _PLANS.pop(next(iter(_PLANS)))
    _PLANS[id(design)] = plan
    return plan


_KEPT = 256
_PLANS: dict[int, Plan] = {}


def _limit_s(terms_: Terms) -> Floats:
    return maximum(terms_.weights_s + terms_.kv_s, terms_.compute_s)
