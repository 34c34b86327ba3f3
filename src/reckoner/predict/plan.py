"""A design made ready: its numbers are taken out once; then every metric is arithmetic that broadcasts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from reckoner.design import Design, Workload
from reckoner.physics import energy
from reckoner.physics.arrays import Floats, maximum, minimum, where
from reckoner.physics.kvcache import round_to_blocks
from reckoner.physics.parallel import transfer_s
from reckoner.predict.combine import Parts, closed_loop_ttft_s, decode_parts, prefill_parts
from reckoner.predict.efficiency import Efficiency
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


class Times(NamedTuple):
    """What a client sees."""

    ttft_s: Floats
    tpot_s: Floats
    e2e_s: Floats


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
    """All that is computed for a question: a decode step, one prompt's prefill, all the batch's prompts' prefills."""

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


def shared_batch(numbers: Numbers) -> Floats:
    """Sequences that share one pass: the stages of a pipeline work on different parts of the batch."""
    return maximum(numbers.batch / numbers.pp, 1.0)


def static_times(step_s: Floats, whole_s: Floats, output_tokens: Floats) -> Times:
    """Times of a batch that starts and ends together; the prefill yields the first token."""
    return Times(whole_s, step_s, whole_s + (output_tokens - 1.0) * step_s)


def closed_loop_times(
    step_s: Floats, own_s: Floats, all_s: Floats, batch: Floats, output_tokens: Floats, queue: Floats
) -> Times:
    """Times where each place of the batch gets a new request as soon as it is free.

    Parameters
    ----------
    step_s, own_s : (...) float
        Decode step, and prefill of one prompt alone. [s]
    all_s : (...) float
        Prefills of all the batch's prompts; those of the others hold up each request once in its lifetime. [s]
    batch, output_tokens : (...) float
        Places, and tokens of an answer.
    queue : (...) float
        Fitted size of the prefill queue.
    """
    others_s = all_s * (1.0 - 1.0 / batch)
    tpot_s = step_s + others_s / output_tokens
    # A lone client finds no step running.
    ttft_s = where(batch > 1.0, closed_loop_ttft_s(own_s, step_s, others_s, output_tokens, queue), own_s)
    return Times(ttft_s, tpot_s, ttft_s + (output_tokens - 1.0) * tpot_s)


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
        batch, _, pp, _, _, prompt, output, _, hit = numbers
        limits = self._limits(numbers)
        prefix = prompt * hit
        fresh = prompt - prefix
        step_terms = self._terms(decode_work(self.shape, shared_batch(numbers), prompt + 0.5 * output), limits, pp)
        step = decode_parts(step_terms, efficiency)
        whole_terms = own_terms = self._terms(prefill_work(self.shape, 1.0, fresh, prefix), limits, pp)
        whole = own = prefill_parts(own_terms, efficiency)
        alone = isinstance(batch, float) and batch == 1.0
        if not alone:
            whole_terms = self._terms(prefill_work(self.shape, batch, fresh, prefix), limits, pp)
            whole = prefill_parts(whole_terms, efficiency)
        if self.static or alone:
            times = static_times(step.total_s, whole.total_s, output)
        else:
            # The launches of a prefill are shared with the decode step that it rides on.
            all_s = (whole.total_s - whole.layers_s) / pp
            times = closed_loop_times(step.total_s, own.total_s, all_s, batch, output, efficiency.queue)
        requests_per_s = batch * numbers.replicas / times.e2e_s
        # What the printed limits would take for one turn of the batch, over what it takes.
        busy = _limit_s(whole_terms) / pp + output * _limit_s(step_terms)
        busy = minimum(busy / times.e2e_s, 1.0)
        return Outcome(
            step, own, whole, times, requests_per_s, self.memory(numbers), busy,
            self._energy(numbers, busy, requests_per_s * output),
        )  # fmt: skip

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
