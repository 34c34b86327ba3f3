# mypy: disable-error-code="no-untyped-call,no-untyped-def"
"""Two heaps of the kernel: decoding requests by the step in which they end, and requests to come by their arrival."""

from __future__ import annotations

from reckoner.simulate.kernel_layout import PENDING, compiled


@compiled
def up(heap, ends, base, j):
    """Let entry ``j`` rise to its place."""
    r, key = heap[base + j], ends[base + j]
    while j > 0:
        above = (j - 1) // 2
        if ends[base + above] <= key:
            break
        heap[base + j], ends[base + j] = heap[base + above], ends[base + above]
        j = above
    heap[base + j], ends[base + j] = r, key
    return j


@compiled
def down(heap, ends, base, size, j):
    """Let entry ``j`` sink to its place."""
    r, key = heap[base + j], ends[base + j]
    while True:
        child = 2 * j + 1
        if child >= size:
            break
        if child + 1 < size and ends[base + child + 1] < ends[base + child]:
            child += 1
        if ends[base + child] >= key:
            break
        heap[base + j], ends[base + j] = heap[base + child], ends[base + child]
        j = child
    heap[base + j], ends[base + j] = r, key
    return j


@compiled
def remove(heap, ends, base, size, j):
    """Take entry ``j`` out of a heap of ``size``."""
    last = base + size - 1
    if j == size - 1:
        return
    heap[base + j], ends[base + j] = heap[last], ends[last]
    up(heap, ends, base, down(heap, ends, base, size - 1, j))


@compiled
def _later(R, a, b):
    return R[a].arrival_s > R[b].arrival_s or (R[a].arrival_s == R[b].arrival_s and a > b)


@compiled
def send(R, S, r):
    """Put a request whose arrival is now known among the pending ones."""
    j = S.control[PENDING]
    S.control[PENDING] = j + 1
    while j > 0:
        above = (j - 1) // 2
        if not _later(R, S.pending[above], r):
            break
        S.pending[j] = S.pending[above]
        j = above
    S.pending[j] = r


@compiled
def take(R, S):
    """Take the earliest pending request out."""
    first = S.pending[0]
    size = S.control[PENDING] - 1
    S.control[PENDING] = size
    r = S.pending[size]
    j = 0
    while True:
        child = 2 * j + 1
        if child >= size:
            break
        if child + 1 < size and _later(R, S.pending[child], S.pending[child + 1]):
            child += 1
        if not _later(R, r, S.pending[child]):
            break
        S.pending[j] = S.pending[child]
        j = child
    S.pending[j] = r
    return first
