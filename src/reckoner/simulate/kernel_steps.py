# mypy: disable-error-code="no-untyped-call,no-untyped-def"
"""The three kinds of steps: decodes in closed form, chunks of prompts beside decodes, and prompts alone."""

from __future__ import annotations

import math

import numpy as np

from reckoner.simulate.kernel_layout import CHUNKED, EVENTS, STEPS, compiled
from reckoner.simulate.kernel_notes import gap, gaps, log, note
from reckoner.simulate.kernel_parts import (
    admit,
    blocks_of,
    end_decodes,
    end_prefills,
    preempt_part,
    start_of,
    take_blocks,
)


@compiled
def table_s(table, tail_s, k):
    """Entry of a table that goes on in a line."""
    last = len(table) - 1
    if k <= last:
        return table[k]
    return table[last] + tail_s * (k - last)


@compiled
def _steps_that_fit(S, base, block, phase, free, batch, n):
    """Steps, at most ``n``, for which the free blocks last."""
    rounds = free // batch
    left, fit = free - rounds * batch, rounds * block
    while fit < n:
        left -= S.residues[base + phase]
        if left < 0:
            break
        phase = phase - 1 if phase > 0 else block - 1
        fit += 1
    return min(fit, n)


@compiled
def _gaps_after_prompts(R, S, at, one_s):
    """Where prompts went first, each request has waited since its own last token."""
    ends_s = at.clock_s + one_s
    r = at.run_head
    while r >= 0:
        gap(S, ends_s - max(R[r].told_s, at.told_s), 1)
        r = R[r].nxt
    at.passed = 0


@compiled
def glide(R, C, P, S, rep, limit_s):
    """Decode steps until something ends, blocks run out or the limit is reached; returns followers."""
    at = S.at[rep]
    batch, step, context, t = at.batch, at.step, at.context, at.clock_s
    base, block, free = rep * P.block, P.block, at.free
    n = S.ends[rep * P.max_seqs] - step
    phase = (-step) % block  # residue that begins a block in this step; one less in each step that follows
    if free < (n // block + 1) * batch:
        n = _steps_that_fit(S, base, block, phase, free, batch, n)
    one_s = C.decode_s[batch] + C.kappa_s * context
    grow_s = 0.5 * C.kappa_s * batch
    spent_s = n * one_s + grow_s * n * (n - 1)
    if t + spent_s >= limit_s and n > 1:
        a, b, d = grow_s, one_s - grow_s, limit_s - t
        m = 2.0 * d / (b + math.sqrt(b * b + 4.0 * a * d))
        m = max(1, min(n, int(np.ceil(m))))
        # The root is right to rounding; step boundaries decide.
        while m > 1 and t + ((m - 1) * one_s + grow_s * (m - 1) * (m - 2)) >= limit_s:
            m -= 1
        while m < n and t + (m * one_s + grow_s * m * (m - 1)) < limit_s:
            m += 1
        n = m
        spent_s = n * one_s + grow_s * n * (n - 1)
    rounds = n // block
    taken = rounds * batch
    for _ in range(n - rounds * block):
        taken += S.residues[base + phase]
        phase = phase - 1 if phase > 0 else block - 1
    limit = n * (C.limit_decode_s[batch] + C.limit_kappa_s * context) + 0.5 * C.limit_kappa_s * batch * n * (n - 1)
    note(S, at, spent_s, batch, at.blocks - free + 0.5 * taken, n * batch, 0.0, limit)
    log(S, batch, rep, t, n, one_s, 2.0 * grow_s)
    if at.passed == 1:
        _gaps_after_prompts(R, S, at, one_s)
        if n > 1:
            gaps(S, one_s + 2.0 * grow_s, 2.0 * grow_s, n - 1, batch)
    else:
        gaps(S, one_s, 2.0 * grow_s, n, batch)
    at.free = free - taken
    at.handed += taken
    at.step = step + n
    at.context = context + n * batch
    at.clock_s = t + spent_s
    at.told_s = at.clock_s
    S.control[STEPS] += n
    S.control[EVENTS] += 1
    return end_decodes(R, P, S, rep)


@compiled
def mixed_step(R, C, P, S, rep, need):
    """One step with chunks of prefills beside the decodes (or with a preemption); returns followers."""
    at = S.at[rep]
    stalled = take_blocks(R, P, S, rep, need)
    batch = at.batch
    budget = P.token_budget - batch
    tokens, behind, pairs, ended = 0, 0, 0.0, 0
    part = at.part
    if part >= 0:
        done, total = at.done, R[part].prompt + R[part].mark
        n = min(total - done, budget)
        more = blocks_of(done + n, P.block) - blocks_of(done, P.block)
        if more > at.free:
            preempt_part(R, P, S, rep)
            stalled = True
        else:
            at.free -= more
            at.handed += more
            tokens, behind = tokens + n, behind + done
            pairs += n * done + 0.5 * n * (n + 1)
            budget -= n
            at.done = done + n
            if done + n == total:
                S.finishing[ended] = part
                ended += 1
                at.part = -1
    while not stalled and P.mode == CHUNKED and budget > 0 and at.wait_head >= 0 and at.seats < P.max_seqs:
        r = at.wait_head
        start, total = start_of(R, P, S, rep, r), R[r].prompt + R[r].mark
        n = min(total - start, budget)
        wanted = total if P.whole == 1 else start + n
        if blocks_of(wanted, P.block) + P.watermark > at.free:
            break
        admit(R, S, rep)
        held = blocks_of(start + n, P.block)
        at.free -= held
        at.handed += held - start // P.block
        tokens, behind = tokens + n, behind + start
        pairs += n * start + 0.5 * n * (n + 1)
        budget -= n
        if start + n == total:
            S.finishing[ended] = r
            ended += 1
        else:
            at.part = r
            at.done = start + n
    _spend(R, C, S, rep, batch, tokens, behind, pairs)
    at.step += 1
    at.context += batch
    followers = end_decodes(R, P, S, rep)
    return followers + end_prefills(R, P, S, rep, ended)


@compiled
def prefill_step(R, C, P, S, rep):
    """One pass over whole prompts while the decodes wait; returns followers."""
    at = S.at[rep]
    tokens, behind, pairs, ended = 0, 0, 0.0, 0
    while at.wait_head >= 0 and at.seats < P.max_seqs:
        r = at.wait_head
        start, total = start_of(R, P, S, rep, r), R[r].prompt + R[r].mark
        n = total - start
        if ended > 0 and tokens + n > P.token_budget:
            break
        held = blocks_of(total, P.block)
        if held + P.watermark > at.free:
            break
        admit(R, S, rep)
        at.free -= held
        at.handed += held - start // P.block
        tokens, behind = tokens + n, behind + start
        pairs += n * start + 0.5 * n * (n + 1)
        S.finishing[ended] = r
        ended += 1
    _spend(R, C, S, rep, 0, tokens, behind, pairs)
    at.passed = 1
    return end_prefills(R, P, S, rep, ended)


@compiled
def _spend(R, C, S, rep, batch, tokens, behind, pairs):
    """Let the time of one step pass."""
    at = S.at[rep]
    context = at.context if batch > 0 else 0
    if tokens > 0:
        spent_s = table_s(C.pass_s, C.tail_s, batch + tokens) + C.kappa_s * (context + behind) + C.pair_s * pairs
        limit = table_s(C.limit_pass_s, C.limit_tail_s, batch + tokens)
        limit += C.limit_kappa_s * (context + behind) + C.limit_pair_s * pairs
    else:
        spent_s = C.decode_s[batch] + C.kappa_s * context
        limit = C.limit_decode_s[batch] + C.limit_kappa_s * context
    note(S, at, spent_s, at.seats, at.blocks - at.free, batch, tokens, limit)
    if batch > 0:
        log(S, batch, rep, at.clock_s, 1, spent_s, 0.0)
        if at.passed == 1:
            _gaps_after_prompts(R, S, at, spent_s)
        else:
            gap(S, spent_s, batch)
        at.told_s = at.clock_s + spent_s
    at.clock_s += spent_s
    S.control[STEPS] += 1
    S.control[EVENTS] += 1
