"""The numbers of a question, and what is computed from them: records that pass between the rooms of a prediction."""

from __future__ import annotations

import math
from typing import NamedTuple

from reckoner.design import Design, Workload
from reckoner.physics.arrays import Floats, where
from reckoner.predict.combine import Parts
from reckoner.predict.deployment import Factors, Point
from reckoner.predict.serving import Times
from reckoner.predict.terms import Terms


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
    dp: Floats = 1.0
    prefill_replicas: Floats = 0.0
    prefill_tp: Floats = 0.0
    kv_link_bytes_per_s: Floats = math.inf
    draft_tokens: Floats = 0.0
    acceptance: Floats = 0.0
    draft_share: Floats = 0.0
    token_budget: Floats = 0.0

    @property
    def prefill_ranks(self) -> Floats:
        """Devices that share each layer of a server that reads prompts."""
        here = self.tp * self.dp
        if isinstance(self.prefill_tp, float) and self.prefill_tp == 0.0:
            return here
        return where(self.prefill_tp > 0.0, self.prefill_tp, here)

    @property
    def devices(self) -> Floats:
        """Devices of all servers."""
        decode = self.tp * self.dp * self.pp * self.replicas
        if isinstance(self.prefill_replicas, float) and self.prefill_replicas == 0.0:
            return decode
        return decode + self.prefill_ranks * self.pp * self.prefill_replicas


class Step(NamedTuple):
    """One decode step: seconds by cause, at the printed limits, what a plain step moves, and tokens it yields each."""

    parts: Parts
    limit_s: Floats
    terms: Terms
    progress: Floats


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
    the printed limits, which no deployment beats. ``progress`` tokens come of a step, a prompt is read in ``passes``,
    and its cache travels for ``transfer_s``.
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
    progress: Floats = 1.0
    passes: Floats = 1.0
    transfer_s: Floats = 0.0


def numbers_of(design: Design, workload: Workload) -> Numbers:
    """Take the numeric axes out of a question."""
    s, w = design.serving, workload
    return Numbers(
        s.batch, s.tp, s.pp, s.ep, s.replicas, w.prompt_tokens, w.output_tokens, w.requests_per_s, w.prefix_hit,
        s.dp, s.prefill_replicas, s.prefill_tp, s.kv_link_bytes_per_s, s.draft_tokens, s.acceptance, s.draft_share,
        s.token_budget,
    )  # fmt: skip


def point_of(numbers: Numbers) -> Point:
    """Numbers that learned slopes act on."""
    n = numbers
    return Point(n.batch, n.tp, n.pp, n.ep, n.prompt_tokens, n.output_tokens, n.dp)
