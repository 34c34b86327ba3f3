"""What a step costs: tables by sequences and tokens, and slopes in context, so that many steps are one polynomial."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reckoner.design import Design, Num, Workload
from reckoner.errors import InputError
from reckoner.physics.parallel import transfer_s
from reckoner.predict.combine import decode_parts, prefill_parts
from reckoner.predict.deployment import Point, features
from reckoner.predict.efficiency import IDEAL, Efficiency
from reckoner.predict.plan import prepare
from reckoner.predict.terms import ACTIVATION_BYTES, HOP_S, Limits, Terms, Work, terms
from reckoner.predict.work import read_weight_bytes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepCost:
    r"""Seconds of a step, affine in context.

    .. math::

        t = \mathrm{decode}(B) + \kappa S \quad\text{or}\quad
        t = \mathrm{pass}(B + T) + \kappa (S + C) + \alpha \sum (n c + n (n + 1) / 2)

    A step of B decodes with S tokens of context between them, or one that holds T prompt tokens as well: chunks of n
    tokens after c cached ones, C of those together.

    Parameters
    ----------
    decode_s : (max_seqs + 1,) array
        By sequences; the first entry is not used. [s]
    pass_s : (tokens + 1,) array
        By tokens, of a step that holds prompt tokens; beyond the table it grows by ``tail_s`` a token. [s]
    kappa_s : float
        Per token of context. [s/token]
    pair_s : float
        Per pair of a prompt token and one it attends to. [s]
    tail_s : float
        Slope beyond the table. [s/token]

    Raises
    ------
    InputError
        A number is negative or not finite, or a table is empty.
    """

    decode_s: NDArray[np.float64]
    pass_s: NDArray[np.float64]
    kappa_s: float = 0.0
    pair_s: float = 0.0
    tail_s: float = 0.0

    def __post_init__(self) -> None:
        """Hold the invariants of a cost."""
        for name in ("decode_s", "pass_s"):
            table = np.ascontiguousarray(getattr(self, name), dtype=np.float64)
            if table.ndim != 1 or table.size < 2:
                raise InputError(f"{name} has shape {table.shape}; give a table over 0, 1, 2, ... sequences or tokens")
            object.__setattr__(self, name, table)
        for name in self.__slots__:
            value = np.asarray(getattr(self, name))
            if not np.all((value >= 0.0) & (value < np.inf)):
                raise InputError(f"{name} holds {value[~((value >= 0.0) & (value < np.inf))].flat[0]}; it must be >= 0")

    def at_least(self, other: StepCost) -> StepCost:
        """Return the larger of both, entry by entry; tables of one size."""
        return StepCost(**{name: np.maximum(getattr(self, name), getattr(other, name)) for name in self.__slots__})


def linear_cost(
    *,
    base_s: float,
    sequence_s: float = 0.0,
    token_s: float,
    kappa_s: float = 0.0,
    pair_s: float = 0.0,
    max_seqs: int = 256,
) -> StepCost:
    """Return a cost given by hand: a fixed part, and a slope in sequences, prompt tokens, context and pairs.

    Examples
    --------
    >>> cost = linear_cost(base_s=0.01, sequence_s=0.001, token_s=0.0001, max_seqs=4)
    >>> cost.decode_s.round(6).tolist()[1:], float(cost.pass_s[1])
    ([0.011, 0.012, 0.013, 0.014], 0.0101)
    """
    return StepCost(
        decode_s=base_s + sequence_s * np.arange(max_seqs + 1.0),
        pass_s=base_s + token_s * np.arange(2.0),
        kappa_s=kappa_s,
        pair_s=pair_s,
        tail_s=token_s,
    )


def step_cost(
    design: Design,
    efficiency: Efficiency | None = None,
    *,
    max_seqs: int = 256,
    tokens: int = 8192,
    workload: Workload | None = None,
) -> StepCost:
    """Cost of a design's steps, from the physics and what the deployment gets of it.

    Parameters
    ----------
    design : Design
        Of scalars. Under ``pp`` the costs are those of one micro-batch on its way through all stages: as many are on
        the way as there are stages, each stage busy with one of them.
    efficiency : Efficiency, optional
        Shares of the printed limits; by default what was learned for designs like it.
    max_seqs, tokens : int
        Sizes of the tables.
    workload : Workload, optional
        Typical lengths: learned efficiencies depend on them a little, and layers with a sliding window read at most so
        much of each sequence, at any length, for a step must stay affine in context.

    Returns
    -------
    StepCost
        Linear layers cost the smooth maximum of reading weights and arithmetic; attention to the cache the larger of
        reading and arithmetic, added on top.

    Raises
    ------
    InputError
        The design holds arrays.
    """
    serving, plan = design.serving, prepare(design)
    tp, pp, ep = (_scalar(name, getattr(serving, name)) for name in ("tp", "pp", "ep"))
    for name, plain, remedy in _ELSEWHERE:
        if _scalar(name, getattr(serving, name)) != plain:
            raise InputError(f"{name} is {getattr(serving, name):g}; leave it at {plain:g} and {remedy}")
    asked = workload if workload is not None else Workload()
    shape = plan.shape
    limits = Limits(
        bandwidth_bytes_per_s=plan.bandwidth_bytes_per_s,
        peak_flop_per_s=plan.peak_flop_per_s,
        link_bytes_per_s=plan.link_bytes_per_s,
        sharers=tp,
        tp=tp,
        ep=ep,
    )

    def table(size: int) -> Terms:
        count = np.arange(size + 1.0)
        work = Work(
            weight_bytes=read_weight_bytes(shape, np.maximum(count, 1.0)),
            kv_bytes=0.0,
            flops=2.0 * shape.active_params * count,
            n_layers=shape.n_layers,
            tokens=count,
            hidden=shape.hidden,
            kernels=shape.kernels,
        )
        found = terms(work, limits)
        if pp == 1.0:
            return found
        hop_s = transfer_s(ACTIVATION_BYTES * work.hidden * count, plan.link_bytes_per_s, HOP_S)
        return found._replace(link_s=found.link_s + (pp - 1.0) * hop_s)

    by_batch, typical = efficiency, efficiency
    factor: Num = 1.0
    one_factor: Num = 1.0
    if efficiency is None:
        batch = np.maximum(np.arange(max_seqs + 1.0), 1.0)
        by_batch, factor = _learned(design, batch, asked)
        typical, one_factor = _learned(design, min(TYPICAL_BATCH, float(max_seqs)), asked)
        # A prefill rides on a step whose launches are paid for already.
        typical = replace(typical, layer_prefill=typical.layer)
    assert by_batch is not None
    assert typical is not None
    bandwidth = tp * plan.bandwidth_bytes_per_s
    peak = tp * plan.peak_flop_per_s
    fixed_bytes = 2.0 * float(shape.state_bytes)
    if float(shape.windowed_kv_bytes_per_token) > 0.0 and shape.window is not None:
        context = float(np.mean(asked.prompt_tokens + 0.5 * asked.output_tokens))
        fixed_bytes += float(shape.windowed_kv_bytes_per_token) * min(float(shape.window), context)
    mbu_kv, mfu = float(np.mean(typical.mbu_kv)), float(np.mean(typical.mfu))
    state_s = one_factor * fixed_bytes / (bandwidth * mbu_kv)
    passes = one_factor * np.asarray(prefill_parts(table(tokens), typical).total_s)
    decode = factor * np.asarray(decode_parts(table(max_seqs), by_batch).total_s)
    found = StepCost(
        decode_s=decode + state_s * np.arange(max_seqs + 1.0),
        pass_s=passes,
        kappa_s=float(one_factor)
        * max(
            float(shape.kv_bytes_per_token) / (bandwidth * mbu_kv),
            float(shape.pair_flops) / (peak * float(np.mean(typical.mfu_decode))),
        ),
        pair_s=float(one_factor) * float(shape.prefill_pair_flops) / (peak * mfu),
        tail_s=float(passes[-1] - passes[-2]),
    )
    # Learned factors never undercut the printed limits.
    return found if efficiency is not None else found.at_least(limit_cost(design, max_seqs=max_seqs, tokens=tokens))


_ELSEWHERE = (
    ("dp", 1.0, "raise ep and tp, the simulator knows no groups of ranks"),
    ("prefill_replicas", 0.0, "simulate both pools with reckoner.simulate.disaggregated"),
    ("draft_tokens", 0.0, "let the server draft with reckoner.simulate.speculative"),
    ("token_budget", 0.0, "give the scheduler its token_budget"),
)
"""What the simulator takes otherwise than in a design's serving."""

TYPICAL_BATCH = 32.0
"""Batch at which learned efficiencies of attention and prefills are read. Assumption: the middle of 1 and 1024."""


def _learned(design: Design, batch: Num, workload: Workload) -> tuple[Efficiency, Num]:
    """Efficiencies and the factor on gaps that were learned for designs like this one."""
    serving = design.serving
    prompt, output = float(np.mean(workload.prompt_tokens)), float(np.mean(workload.output_tokens))
    found = prepare(design).deployment.factors(
        features(Point(batch * serving.pp, serving.tp, serving.pp, serving.ep, prompt, output))
    )
    return found.efficiency, found.tpot


def limit_cost(design: Design, *, max_seqs: int, tokens: int) -> StepCost:
    """Return the same at printed limits and without fixed costs: what the device is truly busy with, for its power."""
    bare = replace(IDEAL, layer=0.0, layer_prefill=0.0, link=1e12)
    return step_cost(design, bare, max_seqs=max_seqs, tokens=tokens)


def _scalar(name: str, value: ArrayLike) -> float:
    if np.ndim(value) != 0:
        raise InputError(f"{name} is an array of shape {np.shape(value)}; simulate one design, or use search()")
    return float(np.asarray(value))
