"""Speculative decoding by expected progress: each step drafts tokens, verifies them and keeps the mean number."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from reckoner.errors import InputError
from reckoner.physics.speculation import expected_tokens
from reckoner.simulate.arrivals import Arrivals
from reckoner.simulate.schedulers import Continuous
from reckoner.simulate.server import Server


def speculative(server: Server, *, acceptance: float, draft_tokens: int, draft_s: float = 0.0) -> Server:
    """Let a server draft and verify.

    Parameters
    ----------
    server : Server
        With a continuous scheduler, decoding one token a step.
    acceptance : float
        Probability that a drafted token is accepted, 0 to 1.
    draft_tokens : int
        Tokens drafted a step.
    draft_s : float
        Time of drafting one token for the whole batch. [s/token]

    Returns
    -------
    Server
        Whose decode step takes the drafts and a pass over ``draft_tokens + 1`` tokens of each sequence, and advances
        each sequence by the mean number of tokens kept.

    Raises
    ------
    InputError
        A number is out of range, or the server speculates already.

    Notes
    -----
    Every request advances by the mean, so its own luck is not drawn: means are right, tails of single requests too
    narrow. Steps that carry prompts take the drafts, too, but not the verified tokens. Context and blocks that a
    request holds are right on average over its answer.
    """
    if not 0.0 <= acceptance <= 1.0 or draft_tokens < 1 or not 0.0 <= draft_s < np.inf:
        raise InputError(
            f"acceptance is {acceptance!r}, draft_tokens {draft_tokens!r} and draft_s {draft_s!r}; "
            "from 0 to 1, at least 1, and at least 0 s"
        )
    if not isinstance(server.scheduler, Continuous) or server.tokens_per_step != 1.0:
        raise InputError(f"{server.name} cannot speculate; give a continuous server that yields one token a step")
    cost = server.cost
    drafted_s = draft_tokens * draft_s
    verified = np.arange(len(cost.decode_s)) * (draft_tokens + 1)
    last = len(cost.pass_s) - 1
    verify_s = cost.pass_s[np.minimum(verified, last)] + cost.tail_s * np.maximum(verified - last, 0)
    faster = replace(cost, decode_s=np.maximum(cost.decode_s, verify_s) + drafted_s, pass_s=cost.pass_s + drafted_s)
    kept = float(expected_tokens(acceptance, draft_tokens))
    return replace(server, cost=faster, tokens_per_step=kept, name=f"{server.name}, {draft_tokens} drafted")


def compressed(arrivals: Arrivals, tokens_per_step: float) -> Arrivals:
    """Return requests whose answers take as many steps as their tokens do, and whose context is right on average.

    >>> from reckoner.simulate import fixed, poisson
    >>> short = compressed(poisson(1.0, fixed(100, 41), n=1, seed=0), 2.0)
    >>> int(short.output_tokens[0]), int(short.prompt_tokens[0]), int(short.cached_tokens[0])
    (21, 110, 10)
    """
    steps = 1 + np.ceil((arrivals.output_tokens - 1) / tokens_per_step - 1e-9).astype(np.int32)
    ahead = (arrivals.output_tokens - steps) // 2  # held from the start in place of what grows faster than a step
    cached = ahead if arrivals.cached_tokens is None else arrivals.cached_tokens + ahead
    return replace(
        arrivals,
        prompt_tokens=arrivals.prompt_tokens + ahead,
        output_tokens=steps,
        cached_tokens=cached.astype(np.int32),
    )
