# mypy: disable-error-code="no-untyped-call,no-untyped-def"
"""What happens between the steps of the kernel: requests are admitted, sent back, begin to decode and are answered."""

from __future__ import annotations

from reckoner.simulate.kernel_heaps import remove, send, up
from reckoner.simulate.kernel_layout import CHUNKED, COMPLETED, PREEMPTIONS, RESUMED, SENT_BACK, compiled
from reckoner.simulate.kernel_notes import gap, log


@compiled
def blocks_of(tokens, block):
    """Blocks that hold so many tokens."""
    return (tokens + block - 1) // block


@compiled
def _answered(R, S, r, at):
    """A running request has its last token; returns 1 if another request follows it."""
    one = R[r]
    one.finish_s = at.clock_s
    before, after = one.prv, one.nxt
    if before >= 0:
        R[before].nxt = after
    else:
        at.run_head = after
    if after >= 0:
        R[after].prv = before
    else:
        at.run_tail = before
    at.seats -= 1
    at.inside -= 1
    S.control[COMPLETED] += 1
    follower = one.follows
    if follower >= 0:
        R[follower].arrival_s = at.clock_s + one.gap_s
        send(R, S, follower)
        return 1
    return 0


@compiled
def end_decodes(R, P, S, rep):
    """Answer what ends at this step counter; returns how many requests that sets free to follow."""
    at, base = S.at[rep], rep * P.max_seqs
    followers = 0
    while at.batch > 0:
        r = S.heap[base]
        if S.ends[base] != at.step:
            break
        one = R[r]
        remove(S.heap, S.ends, base, at.batch, 0)
        at.batch -= 1
        context = one.prompt + one.output - 1
        at.context -= context
        at.free += blocks_of(context, P.block)
        S.residues[rep * P.block + (context - one.mark) % P.block] -= 1
        followers += _answered(R, S, r, at)
    return followers


@compiled
def end_prefills(R, P, S, rep, count):
    """Each prefill that ended yields a token; its request decodes from the next step on, or is answered."""
    at, base = S.at[rep], rep * P.max_seqs
    followers = 0
    for j in range(count):
        r = S.finishing[j]
        one = R[r]
        made = one.mark + 1
        if made == 1:
            one.first_s = at.clock_s
        else:
            gap(S, at.clock_s - one.told_s, 1)
            log(S, RESUMED, rep, at.clock_s, r, 0.0, 0.0)
        one.told_s = at.clock_s
        context = one.prompt + made - 1
        if made == one.output:
            at.free += blocks_of(context, P.block)
            followers += _answered(R, S, r, at)
            continue
        one.mark = at.step + one.output - made
        at.context += context
        S.residues[rep * P.block + (context - at.step) % P.block] += 1
        size = at.batch
        S.heap[base + size] = r
        S.ends[base + size] = one.mark
        at.batch = size + 1
        up(S.heap, S.ends, base, size)
    return followers


@compiled
def _preempt(R, P, S, rep):
    """Send the request that was admitted last back to the front of the queue; its cache is recomputed later."""
    at = S.at[rep]
    r = at.run_tail
    one = R[r]
    if r == at.part:
        context = at.done
        at.free += blocks_of(context, P.block)
        at.part = -1
    else:
        left = one.mark - at.step
        context = one.prompt + one.output - 1 - left
        base, place = rep * P.max_seqs, 0
        while S.heap[base + place] != r:
            place += 1
        remove(S.heap, S.ends, base, at.batch, place)
        at.batch -= 1
        at.context -= context
        at.free += blocks_of(context, P.block)
        S.residues[rep * P.block + (context - at.step) % P.block] -= 1
        one.mark = one.output - left
        one.told_s = max(one.told_s, at.clock_s if P.mode == CHUNKED else at.told_s)
        log(S, SENT_BACK, rep, one.told_s, r, 0.0, 0.0)
    before = one.prv
    at.run_tail = before
    if before >= 0:
        R[before].nxt = -1
    else:
        at.run_head = -1
    at.seats -= 1
    one.place = context // P.block  # full blocks; a waiting request has no use for its links otherwise
    one.prv = at.handed
    one.preempted += 1
    S.control[PREEMPTIONS] += 1
    one.nxt = at.wait_head
    if at.wait_head < 0:
        at.wait_tail = r
    at.wait_head = r
    return r


@compiled
def admit(R, S, rep):
    """Move the head of the queue to the end of the running ones."""
    at = S.at[rep]
    r = at.wait_head
    one = R[r]
    at.wait_head = one.nxt
    if one.nxt < 0:
        at.wait_tail = -1
    tail = at.run_tail
    one.prv = tail
    one.nxt = -1
    if tail >= 0:
        R[tail].nxt = r
    else:
        at.run_head = r
    at.run_tail = r
    at.seats += 1
    if one.started_s < 0.0:
        one.started_s = at.clock_s
    return r


@compiled
def start_of(R, P, S, rep, r):
    """Tokens that a prefill finds in the cache: after a preemption its first blocks, less those handed out since."""
    one = R[r]
    if one.preempted == 0:
        return one.cached
    if P.recall == 0:
        return 0
    return max(0, one.place - (S.at[rep].handed - one.prv)) * P.block


@compiled
def admissible(R, P, S, rep, free):
    """Whether the head of the queue could be admitted with so many blocks free."""
    at = S.at[rep]
    head = at.wait_head
    if head < 0 or at.seats >= P.max_seqs:
        return False
    tokens = R[head].prompt + R[head].mark
    if P.whole == 0 and P.mode == CHUNKED:
        tokens = min(tokens, start_of(R, P, S, rep, head) + P.token_budget - at.batch)
    return blocks_of(tokens, P.block) + P.watermark <= free


@compiled
def take_blocks(R, P, S, rep, need):
    """Give each decoding request that begins a block a new one, sending others back where none is free."""
    at = S.at[rep]
    if need <= at.free:
        at.free -= need
        at.handed += need
        return False
    r = at.run_head
    while r >= 0:
        if r != at.part:
            context = R[r].prompt + R[r].output - 1 - (R[r].mark - at.step)
            if context % P.block == 0:
                gone = -1
                while at.free == 0 and gone != r:
                    gone = _preempt(R, P, S, rep)
                if gone == r:
                    break
                at.free -= 1
                at.handed += 1
        r = R[r].nxt
    return True


@compiled
def preempt_part(R, P, S, rep):
    """Send the request whose prompt is read in part back: it was admitted last."""
    _preempt(R, P, S, rep)
