"""What a step costs: tables by sequences and tokens, and slopes in context, so that many steps are one polynomial."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reckoner.design import Design
from reckoner.errors import InputError
from reckoner.predict.combine import decode_parts, prefill_parts
from reckoner.predict.efficiency import IDEAL, PRIOR, Efficiency
from reckoner.predict.plan import prepare
from reckoner.predict.terms import Limits, Terms, Work, terms
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
    efficiency: Efficiency = PRIOR,
    *,
    max_seqs: int = 256,
    tokens: int = 8192,
    typical_context: float = float("inf"),
) -> StepCost:
    """Cost of a design's steps, from the physics and what the deployment gets of it.

    Parameters
    ----------
    design : Design
        Of scalars; ``pp`` must be 1.
    efficiency : Efficiency
        Shares of the printed limits.
    max_seqs, tokens : int
        Sizes of the tables.
    typical_context : float
        Layers with a sliding window read ``min(window, typical_context)`` of each sequence, at any length: a step must
        stay affine in context. [token]

    Returns
    -------
    StepCost
        Linear layers cost the smooth maximum of reading weights and arithmetic; attention to the cache the larger of
        reading and arithmetic, added on top.

    Raises
    ------
    InputError
        The design holds arrays, or shares its layers over a pipeline.
    """
    serving, plan = design.serving, prepare(design)
    tp, ep = _scalar("tp", serving.tp), _scalar("ep", serving.ep)
    if _scalar("pp", serving.pp) != 1.0:
        raise InputError(f"pp is {serving.pp:g}; the simulator shares layers by tp only, so set pp to 1 and raise tp")
    shape = plan.shape
    limits = Limits(
        bandwidth_bytes_per_s=plan.bandwidth_bytes_per_s,
        peak_flop_per_s=plan.peak_flop_per_s,
        link_bytes_per_s=plan.link_bytes_per_s,
        sharers=tp,
        tp=tp,
        ep=ep,
    )
    near = typical_context if shape.window is None else min(float(shape.window), typical_context)
    fixed_bytes = 2.0 * float(shape.state_bytes)
    if float(shape.windowed_kv_bytes_per_token) > 0.0:
        fixed_bytes += float(shape.windowed_kv_bytes_per_token) * near

    def table(size: int) -> Terms:
        count = np.arange(size + 1.0)
        work = Work(
            weight_bytes=read_weight_bytes(shape, np.maximum(count, 1.0)),
            kv_bytes=0.0,
            flops=2.0 * shape.active_params * count,
            n_layers=shape.n_layers,
            tokens=count,
            hidden=shape.hidden,
        )
        return terms(work, limits)

    bandwidth = tp * plan.bandwidth_bytes_per_s
    peak = tp * plan.peak_flop_per_s
    state_s = fixed_bytes / (bandwidth * float(efficiency.mbu_kv))
    passes = prefill_parts(table(tokens), efficiency).total_s
    slope = np.diff(np.asarray(passes)[-2:])[0]
    return StepCost(
        decode_s=np.asarray(decode_parts(table(max_seqs), efficiency).total_s) + state_s * np.arange(max_seqs + 1.0),
        pass_s=np.asarray(passes),
        kappa_s=max(
            float(shape.kv_bytes_per_token) / (bandwidth * float(efficiency.mbu_kv)),
            float(shape.pair_flops) / (peak * float(efficiency.mfu_decode)),
        ),
        pair_s=float(shape.prefill_pair_flops) / (peak * float(efficiency.mfu)),
        tail_s=float(slope),
    )


def limit_cost(design: Design, *, max_seqs: int, tokens: int) -> StepCost:
    """Return the same at printed limits and without fixed costs: what the device is truly busy with, for its power."""
    from dataclasses import replace

    bare = replace(IDEAL, layer=0.0, layer_prefill=0.0, link=1e12)
    return step_cost(design, bare, max_seqs=max_seqs, tokens=tokens)


def _scalar(name: str, value: ArrayLike) -> float:
    if np.ndim(value) != 0:
        raise InputError(f"{name} is an array of shape {np.shape(value)}; simulate one design, or use search()")
    return float(np.asarray(value))
