"""Power of a device by the sequences that it decodes: what was learned, as the predictor has it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reckoner.design import Design, Workload
from reckoner.predict.deployment import Point, features
from reckoner.predict.plan import POWER_SHARE, prepare
from reckoner.predict.terms import Limits, terms
from reckoner.predict.work import decode_work, kv_copies


def active_w(design: Design, workload: Workload, max_seqs: int) -> NDArray[np.float64] | None:
    """Power of a device while it works, by sequences; None where its limit is unknown or nothing was learned.

    Parameters
    ----------
    design : Design
        Of scalars.
    workload : Workload
        Typical lengths, on which what was learned depends a little.
    max_seqs : int
        Sequences of the last entry.

    Returns
    -------
    (max_seqs + 1,) float
        The first entry is not used. Never below the device at rest nor above its limit. [W]

    Notes
    -----
    The same terms and factors as in :func:`reckoner.predict`, which draws a closed loop at one batch; here the batch
    moves. A model of energy, not a measurement of it.
    """
    plan, serving = prepare(design), design.serving
    if plan.tdp_w is None:
        return None
    batch = np.maximum(np.arange(max_seqs + 1.0), 1.0)
    prompt, output = float(np.mean(workload.prompt_tokens)), float(np.mean(workload.output_tokens))
    tp, ep = float(serving.tp), float(serving.ep)
    x = features(Point(batch * serving.pp, tp, float(serving.pp), ep, prompt, output))
    learned = plan.deployment.factors(x).energy
    if learned is None:
        return None
    limits = Limits(plan.bandwidth_bytes_per_s, plan.peak_flop_per_s, plan.link_bytes_per_s, tp, tp, ep)
    copies = kv_copies(plan.shape.kv_heads, tp)
    step = terms(decode_work(plan.shape, batch, prompt + 0.5 * output, 0.0, copies), limits)
    watts = POWER_SHARE * plan.tdp_w * np.asarray(learned) * np.asarray(plan.deployment.power(x, step))
    held = np.clip(np.broadcast_to(watts, batch.shape), plan.idle_w, plan.tdp_w)
    return np.asarray(held, dtype=np.float64)
