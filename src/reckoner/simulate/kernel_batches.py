# mypy: disable-error-code="no-untyped-call,no-untyped-def"
"""Static and dynamic batching: a batch is padded, and answered when its longest answer ends."""

from __future__ import annotations

from reckoner.simulate.kernel_layout import COMPLETED, EVENTS, STEPS, compiled
from reckoner.simulate.kernel_notes import gaps, log, note
from reckoner.simulate.kernel_parts import blocks_of
from reckoner.simulate.kernel_steps import table_s


@compiled
def serve_batches(R, C, P, S, wait_s, kv_tokens):
    """Serve everything; a replica takes every ``replicas``-th arrival."""
    count, stride = len(R), P.replicas
    for rep in range(stride):
        at = S.at[rep]
        i, clock_s = rep, 0.0
        while i < count:
            full = i + (P.max_seqs - 1) * stride
            last = full if full < count else i + (count - 1 - i) // stride * stride
            start_s = max(clock_s, min(R[last].arrival_s, R[i].arrival_s + wait_s))
            taken, prompt, output, j = 0, 0, 0, i
            while taken < P.max_seqs and j < count and R[j].arrival_s <= start_s:
                longest, most = max(prompt, R[j].prompt), max(output, R[j].output)
                if taken > 0 and (taken + 1) * (longest + most) > kv_tokens:
                    break
                prompt, output, taken, j = longest, most, taken + 1, j + stride
            pairs = 0.5 * taken * prompt * (prompt + 1.0)
            first_s = start_s + table_s(C.pass_s, C.tail_s, taken * prompt) + C.pair_s * pairs
            n = output - 1
            reads = n * taken * prompt + 0.5 * taken * n * (n - 1)
            clock_s = first_s + n * C.decode_s[taken] + C.kappa_s * reads
            limit = table_s(C.limit_pass_s, C.limit_tail_s, taken * prompt) + C.limit_pair_s * pairs
            limit += n * C.limit_decode_s[taken] + C.limit_kappa_s * reads
            held = taken * blocks_of(prompt + output, P.block)
            one_s, growth_s = C.decode_s[taken] + C.kappa_s * taken * prompt, C.kappa_s * taken
            made, read = 0, 0
            while i < j:
                one = R[i]
                one.started_s, one.first_s, one.finish_s = start_s, first_s, clock_s
                one.replica = rep
                made, read = made + one.output, read + one.prompt
                if one.output > 1:
                    gaps(S, one_s, growth_s, one.output - 1, 1)
                i += stride
            at.clock_s = start_s
            note(S, at, clock_s - start_s, taken, held, made, read, limit)
            if n > 0:
                log(S, taken, rep, first_s, n, one_s, growth_s)
            S.control[STEPS] += output
            S.control[EVENTS] += 1
            S.control[COMPLETED] += taken
