"""A design made ready: its numbers are taken out once; then every metric is arithmetic that broadcasts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock

from reckoner.catalogue.device import Device
from reckoner.design import Design
from reckoner.errors import MissingFigureError
from reckoner.physics import energy
from reckoner.physics.arrays import Floats, ceil, floor, maximum, minimum, where
from reckoner.physics.kvcache import round_to_blocks
from reckoner.physics.parallel import transfer_s
from reckoner.physics.speculation import expected_tokens
from reckoner.predict import deployment, quantities
from reckoner.predict.combine import Parts, beyond, decode_parts, prefill_parts
from reckoner.predict.deployment import Deployment, Factors, features, load_features, served_features
from reckoner.predict.efficiency import Efficiency
from reckoner.predict.numbers import Memory, Numbers, Outcome, Step, point_of
from reckoner.predict.pools import Pools, pooled
from reckoner.predict.serving import Times, closed_loop_times, open_loop_times, scaled, static_times
from reckoner.predict.terms import ACTIVATION_BYTES, HOP_S, Limits, Terms, Work, terms
from reckoner.predict.work import (
    Shape,
    decode_work,
    kv_copies,
    prefill_work,
    read_weight_bytes,
    sequence_bytes,
    shape_of,
)

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
    plain: bool
    draft: Shape | None
    _deployment: Deployment | None = None
    _settled: Deployment | None = None  # at the design's own batch and ranks, where those are single numbers

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

    def _learned(self, n: Numbers) -> tuple[Deployment, dict[str, Floats]]:
        """What was learned, and the features that still move it."""
        point, s = point_of(n), self.design.serving
        if not (self.plain and n.batch is s.batch and n.tp is s.tp and n.pp is s.pp and n.ep is s.ep):
            return self.deployment, features(point)
        if self._settled is None:
            served = served_features(point)
            if not all(isinstance(value, float) for value in served.values()):
                return self.deployment, served | load_features(point)
            self._settled = self.deployment.at(served)  # type: ignore[arg-type]
        return self._settled, load_features(point)

    def outcome(self, numbers: Numbers, given: Efficiency | None = None) -> Outcome:
        """Compute every metric; what broadcasts in, broadcasts out.

        Parameters
        ----------
        numbers : Numbers
            Where.
        given : Efficiency, optional
            In place of what was learned; quantities then follow from the terms alone.
        """
        n, pp, output, arrivals = numbers, numbers.pp, numbers.output_tokens, numbers.requests_per_s
        learned, x = self._learned(n) if given is None else (None, {})
        factors = learned.factors(x) if learned is not None else self.factors(x, given)
        efficiency = factors.efficiency
        limits = self.limits(n)
        passes: Floats = 1.0 if self.plain else self.passes(n)
        own_terms = self.prefill_terms(n, limits, 1.0)
        own = prefill_parts(own_terms, factors.first)
        batch, opened, pools = n.batch, None, None
        active: Floats = 1.0  # share of time in which anything runs
        transfer_s: Floats = 0.0
        if not (isinstance(arrivals, float) and arrivals == 0.0):
            opened, inside = self._open_loop(n, factors, limits, own_terms)
            batch = where(arrivals > 0.0, maximum(inside, 1.0), batch)
            active = where(arrivals > 0.0, minimum(inside, 1.0), 1.0)
        if self._apart(n):
            split = n.prefill_replicas > 0.0
            transfer_s = where(split, self.transfer_s(n), 0.0)
            pools = self._pools(n, factors, limits, beyond(_limit_s(own_terms), own.total_s, factors.ttft))
            batch = where(split, maximum(pools.inside, 1.0), batch)
            active = where(split, minimum(pools.inside, 1.0), active)
        step = self.step(n, limits, batch, efficiency)
        gap_s = step.parts.total_s / step.progress
        whole_terms, whole = own_terms, own
        alone = isinstance(batch, float) and batch == 1.0
        if not alone:
            whole_terms = self.prefill_terms(n, limits, batch)
            whole = prefill_parts(whole_terms, factors.first)
        if self.static or alone:
            seen = static_times(gap_s, whole.total_s, output)
        else:
            # The launches of a prefill are shared with the decode step that it rides on.
            riding = whole if factors.first is efficiency else prefill_parts(whole_terms, efficiency)
            seen = closed_loop_times(
                gap_s,
                own.total_s,
                (whole.total_s - whole.layers_s) / pp,
                (riding.total_s - riding.layers_s) / pp,
                batch,
                output,
                factors.first.queue,
            )
            if not self.plain:  # each pass but the last carries a decode step as well, and a step yields several tokens
                carried_s = step.parts.total_s - step.parts.weights_s - step.parts.layers_s
                more_s = (passes - 1.0) * maximum(carried_s, 0.0) + 0.5 * (step.parts.total_s - gap_s)
                seen = seen._replace(ttft_s=seen.ttft_s + where(batch > 1.0, more_s, 0.0))
        least = static_times(step.limit_s / step.progress, _limit_s(own_terms), output)
        times = scaled(seen, factors.ttft, factors.tpot, least, output)
        rate = batch / times.e2e_s  # of one replica, Little's law
        if opened is not None:
            rate = where((arrivals > 0.0) & (opened.e2e_s < math.inf), arrivals / n.replicas, rate)
            times = Times(*(where(arrivals > 0.0, a, b) for a, b in zip(opened, times, strict=True)))
        # What the printed limits would take for a request, times the requests.
        steps = output / step.progress
        if pools is None:
            busy = minimum(rate / batch * (_limit_s(whole_terms) / pp + steps * step.limit_s), 1.0)
        else:
            rate = where(split, pools.requests_per_s, rate)
            times = Times(*(where(split, a, b) for a, b in zip(pools.times, times, strict=True)))
            reading = where(split, batch * _limit_s(own_terms) * n.prefill_ranks, _limit_s(whole_terms) * n.tp * n.dp)
            work_s = reading / pp + n.tp * n.dp * steps * step.limit_s  # summed over devices
            busy = minimum(rate / batch * work_s * pp * n.replicas / n.devices, 1.0)
        requests_per_s = rate * n.replicas
        j_per_token = None
        if self.tdp_w is not None:
            if learned is not None and factors.energy is not None:
                nominal_w = POWER_SHARE * self.tdp_w * factors.energy * learned.power(x, step.terms)
                each_w = self.idle_w + maximum(minimum(nominal_w, self.tdp_w) - self.idle_w, 0.0) * active
            else:
                each_w = energy.power_w(self.idle_w, self.tdp_w, busy)
            j_per_token = energy.joules_per_token(each_w * n.devices, requests_per_s * output)
        memory = self.memory(n)
        return Outcome(
            batch, step.parts, own, whole, times, least, requests_per_s, memory, busy, j_per_token, factors,
            step.progress, passes, transfer_s,
        )  # fmt: skip

    def memory(self, numbers: Numbers) -> Memory:
        """Bytes on each device that the design cannot do without; of the fuller one where prompts are read apart."""
        n = numbers
        decode = self.decode_memory(n)
        if not self._apart(n):
            return decode
        alone = n.prefill_tp > 0.0  # those servers share every layer among all their devices
        tp, dp = where(alone, n.prefill_ranks, n.tp), where(alone, 1.0, n.dp)
        prefill = self._memory(n, tp, dp, 1.0, n.prompt_tokens)
        fuller = (n.prefill_replicas > 0.0) & (prefill.total > decode.total)
        return Memory(*(where(fuller, a, b) for a, b in zip(prefill, decode, strict=True)))

    def decode_memory(self, n: Numbers) -> Memory:
        """Bytes on each device of a server that decodes."""
        return self._memory(n, n.tp, n.dp, n.batch, n.prompt_tokens + n.output_tokens)

    def power_factor(self, n: Numbers, step: Terms) -> Floats:
        """Learned factor on the nominal power draw of a decode step."""
        learned, x = self._learned(n)
        return learned.power(x, step)

    def _memory(self, n: Numbers, tp: Floats, dp: Floats, batch: Floats, tokens: Floats) -> Memory:
        shape, split = self.shape, tp * n.pp
        sequence = sequence_bytes(shape, round_to_blocks(tokens), kv_copies(shape.kv_heads, tp))
        passed: Floats = CHUNK_TOKENS
        weights, kv = shape.weight_bytes / split, batch * sequence / split
        if not self.plain:
            passed = where(n.token_budget > 0.0, n.token_budget, CHUNK_TOKENS)
            weights = weights - shape.expert_bytes / split * (1.0 - 1.0 / dp)
            kv = kv * maximum(1.0 / dp, 1.0 / batch)  # a sequence lies whole in one group
            if self.draft is not None:
                there = where(n.draft_tokens > 0.0, 1.0, 0.0)
                draft = self.draft.weight_bytes / split
                held = sequence_bytes(self.draft, round_to_blocks(tokens), kv_copies(self.draft.kv_heads, tp))
                weights, kv = weights + there * draft, kv + there * batch * held / (split * dp)
        at_once = maximum(minimum(batch * n.prompt_tokens, passed), batch)
        return Memory(
            0.0 * weights if self.in_flash else weights,
            kv,
            self.runtime_bytes + ACTIVATION_COPIES * ACTIVATION_BYTES * shape.hidden * at_once / tp,
            weights if self.in_flash else 0.0 * weights,
        )

    def passes(self, n: Numbers) -> Floats:
        """Passes in which a prompt is read: decode steps that run meanwhile take their tokens out of the budget."""
        held = where(n.prefill_replicas > 0.0, 0.0, n.batch * (1.0 + n.draft_tokens)) if not self.static else 0.0
        room = where(n.token_budget > 0.0, maximum(n.token_budget - held, 1.0), math.inf)
        return maximum(ceil(n.prompt_tokens * (1.0 - n.prefix_hit) / room), 1.0)

    def prefill_terms(self, n: Numbers, limits: Limits, prompts: Floats, *, apart: bool = False) -> Terms:
        """Terms of reading one prompt, or all of a batch's; ``apart``: of several on a server that reads only."""
        prefix = n.prompt_tokens * n.prefix_hit
        new = n.prompt_tokens - prefix
        if self.plain:
            work = prefill_work(self.shape, prompts, new, prefix, copies=kv_copies(self.shape.kv_heads, n.tp))
            return self._terms(work, limits, n.pp)
        one = apart or (isinstance(prompts, float) and prompts == 1.0)
        passes = self.passes(n)
        if one and self._apart(n):
            ranks = where(n.prefill_replicas > 0.0, n.prefill_ranks, n.tp * n.dp)
            own = where(n.prefill_tp > 0.0, ranks, n.tp)
            limits = limits._replace(sharers=ranks, tp=own, ep=minimum(n.ep, ranks))
        if self.static and not one:
            passes = where(n.token_budget > 0.0, maximum(ceil(prompts * new / maximum(n.token_budget, 1.0)), 1.0), 1.0)
        work = prefill_work(self.shape, prompts, new, prefix, passes, kv_copies(self.shape.kv_heads, limits.tp))
        times = passes
        if not one and not self.static:  # passes ride on decode steps, which read the weights anyway
            work, times = work._replace(weight_bytes=read_weight_bytes(self.shape, prompts * new)), 1.0
        return self._terms(self._copied(work, limits, times), limits, n.pp)

    def step(self, n: Numbers, limits: Limits, batch: Floats, efficiency: Efficiency) -> Step:
        """One decode step of ``batch`` sequences, with what it drafts."""
        k = n.draft_tokens
        if self.plain or (isinstance(k, float) and k == 0.0):
            found = self.step_terms(n, limits, batch)
            return Step(decode_parts(found, efficiency), _limit_s(found), found, 1.0)
        verify, small = self.step_terms(n, limits, batch, k), self.draft_terms(n, limits, batch)
        share = k if self.draft is not None else k * n.draft_share
        drafting = decode_parts(small, efficiency)
        parts = Parts(*(a + share * b for a, b in zip(decode_parts(verify, efficiency), drafting, strict=True)))
        limit_s = _limit_s(verify) + share * _limit_s(small)
        return Step(parts, limit_s, verify, expected_tokens(n.acceptance, k))

    def step_terms(self, n: Numbers, limits: Limits, batch: Floats, drafted: Floats = 0.0) -> Terms:
        """Terms of a pass that decodes a token of each sequence and verifies what was ``drafted``."""
        context, each = n.prompt_tokens + 0.5 * n.output_tokens, shared_batch(batch, n.pp)
        copies = kv_copies(self.shape.kv_heads, n.tp)
        work = decode_work(self.shape, each, context, drafted, copies)
        return self._terms(work if self.plain else self._copied(work, limits), limits, n.pp)

    def draft_terms(self, n: Numbers, limits: Limits, batch: Floats) -> Terms:
        """Terms of the pass that drafts a token: of the draft model, or a plain step that ``draft_share`` scales."""
        if self.draft is None:
            return self.step_terms(n, limits, batch)
        context, each = n.prompt_tokens + 0.5 * n.output_tokens, shared_batch(batch, n.pp)
        work = decode_work(self.draft, each, context, 0.0, kv_copies(self.draft.kv_heads, n.tp))
        return self._terms(work, limits, n.pp)

    def transfer_s(self, n: Numbers) -> Floats:
        """Time in which the cache of a prompt travels; each rank ships its part over its own link."""
        links = minimum(n.prefill_ranks, n.tp * n.dp) * n.pp
        return transfer_s(sequence_bytes(self.shape, n.prompt_tokens) / links, n.kv_link_bytes_per_s, HOP_S)

    def _apart(self, n: Numbers) -> bool:
        """Whether any of the designs reads prompts on servers of their own."""
        return not (self.plain or (isinstance(n.prefill_replicas, float) and n.prefill_replicas == 0.0))

    def _pools(self, n: Numbers, factors: Factors, limits: Limits, own_s: Floats) -> Pools:
        servers = where(n.prefill_replicas > 0.0, n.prefill_replicas, 1.0) / n.replicas
        shipped_s = self.transfer_s(n)
        busy_s = maximum(minimum(self.reading_s(n, factors, limits), own_s), shipped_s)
        gap_s = self._gap_s(n, factors, limits)
        arrivals = n.requests_per_s / n.replicas
        return pooled(gap_s, own_s, busy_s, shipped_s, servers, n.batch, n.output_tokens, arrivals)

    def reading_s(self, n: Numbers, factors: Factors, limits: Limits) -> Floats:
        """What a prompt costs a busy prefill server, which fills each pass with whole prompts."""
        room = where(n.token_budget > 0.0, n.token_budget, CHUNK_TOKENS) * where(n.prefill_tp > 0.0, 1.0, n.dp)
        several = maximum(floor(room / (n.prompt_tokens * (1.0 - n.prefix_hit))), 1.0)
        reading = self.prefill_terms(n, limits, several, apart=True)
        seconds = beyond(_limit_s(reading), prefill_parts(reading, factors.efficiency).total_s, factors.tpot)
        return seconds / several / n.pp

    def _gap_s(self, n: Numbers, factors: Factors, limits: Limits) -> Callable[[Floats], Floats]:
        """Time of an output token by batch, without what prompts add."""

        def gap_s(batch: Floats) -> Floats:
            step = self.step(n, limits, batch, factors.efficiency)
            return beyond(step.limit_s, step.parts.total_s, factors.tpot) / step.progress

        return gap_s

    def _copied(self, work: Work, limits: Limits, times: Floats = 1.0) -> Work:
        """Work of passes where each data-parallel group reads its own copy of all but the routed experts."""
        copies = (limits.sharers / limits.tp - 1.0) * (self.shape.weight_bytes - self.shape.expert_bytes)
        return work._replace(weight_bytes=work.weight_bytes + times * copies)

    def _open_loop(self, n: Numbers, factors: Factors, limits: Limits, own_terms: Terms) -> tuple[Times, Floats]:
        """Times under random arrivals, and the mean number inside."""
        arrivals = n.requests_per_s / n.replicas
        riding = prefill_parts(own_terms, factors.efficiency)
        limit_s = _limit_s(own_terms)
        work_s = beyond(limit_s, riding.total_s - riding.layers_s, factors.tpot) / n.pp
        own_s = beyond(limit_s, prefill_parts(own_terms, factors.first).total_s, factors.ttft)
        return open_loop_times(self._gap_s(n, factors, limits), own_s, work_s, arrivals, n.batch, n.output_tokens)

    def limits(self, numbers: Numbers) -> Limits:
        """Printed limits of the devices that share a decode server's pass."""
        tp = numbers.tp
        sharers = tp * numbers.dp
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
    device, serving, draft = design.device, design.serving, design.draft
    sizes = design.weights_format.bytes_per_element, design.kv_format.bytes_per_element
    ranks = maximum(serving.tp * serving.dp, serving.prefill_tp) * serving.pp
    several = not (isinstance(ranks, float) and ranks == 1.0)
    plan = Plan(
        design=design,
        shape=shape_of(design.model, *sizes),
        bandwidth_bytes_per_s=device.bandwidth_bytes_per_s,
        peak_flop_per_s=design.peak_flop_per_s,
        link_bytes_per_s=_link(device) if several else float("inf"),
        runtime_bytes=RUNTIME_BYTES.get(device.device_class, 0.0),
        idle_w=device.idle_w if device.idle_w is not None else IDLE_SHARE * (device.tdp_w or 0.0),
        tdp_w=device.tdp_w,
        static=serving.scheduler == "static",
        in_flash=device.tier == "tinyml" and device.flash_bytes is not None,
        plain=serving.plain,
        draft=None if draft is None else shape_of(draft, *sizes),
    )
    with _LOCK:
        if len(_PLANS) >= _KEPT:
            _PLANS.pop(next(iter(_PLANS)))
        _PLANS[id(design)] = plan
    return plan


def _link(device: Device) -> float:
    try:
        return device.figure("link_bytes_per_s")
    except MissingFigureError as error:
        raise MissingFigureError(f"{error}; leave tp, pp and dp at 1 or take a device with a link") from error


_KEPT = 256
_PLANS: dict[int, Plan] = {}
_LOCK = Lock()  # of writers; a reader checks that the plan it found is of its own design


def _limit_s(terms_: Terms) -> Floats:
    return maximum(terms_.weights_s + terms_.kv_s, terms_.compute_s)
