"""A slow reference: every step of every replica, one after the other, with nothing in closed form."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from reckoner.simulate.arrivals import Arrivals
from reckoner.simulate.cost import StepCost
from reckoner.simulate.schedulers import Continuous, PrefillFirst, Static
from reckoner.simulate.server import Server


@dataclass(eq=False)
class Request:
    row: int
    arrival: float
    prompt: int
    output: int
    cached: int
    group: int
    made: int = 0  # tokens generated
    left: int = 0  # full blocks held when it was preempted
    handed: int = 0  # blocks handed out by then
    computed: int = 0  # tokens in the cache
    blocks: int = 0
    decoding: bool = False
    preempted: int = 0
    started: float = -1.0
    first: float = 0.0
    finish: float = 0.0
    replica: int = -1
    told: list = field(default_factory=list)  # moments of its tokens


def lookup(table, tail, k):
    return table[k] if k < len(table) else table[-1] + tail * (k - (len(table) - 1))


@dataclass(eq=False)
class Replica:
    cost: StepCost
    scheduler: Continuous
    total: int
    watermark: int
    clock: float = 0.0
    waiting: list = field(default_factory=list)
    running: list = field(default_factory=list)
    handed: int = 0

    @property
    def free(self):
        return self.total - sum(r.blocks for r in self.running)

    def blocks_for(self, tokens):
        return -(-tokens // self.scheduler.block_tokens)

    def inside(self):
        return len(self.waiting) + len(self.running)

    def grow(self, request, tokens, found=0):
        more = self.blocks_for(tokens) - max(request.blocks, found // self.scheduler.block_tokens)
        self.handed += max(more, 0)
        request.blocks = max(request.blocks, self.blocks_for(tokens))

    def found(self, request):
        """Tokens of a waiting request that the cache holds."""
        if request.preempted == 0:
            return request.cached
        if not (self.scheduler.recall and self.scheduler.whole_prompt):
            return 0
        return max(0, request.left - (self.handed - request.handed)) * self.scheduler.block_tokens

    def preempt(self):
        victim = self.running.pop()
        victim.left, victim.handed = victim.computed // self.scheduler.block_tokens, self.handed
        victim.blocks, victim.computed, victim.decoding = 0, 0, False
        victim.preempted += 1
        self.waiting.insert(0, victim)
        return victim

    def admit(self, request):
        request.computed = self.found(request)
        self.waiting.remove(request)
        self.running.append(request)
        if request.started < 0:
            request.started = self.clock

    def step(self):
        """One step; returns the requests that it answers."""
        s = self.scheduler
        if isinstance(s, PrefillFirst):
            work = self.admit_whole()
            if work:
                return self.run(work, [])
        decodes, stalled = self.schedule_decodes()
        work = [] if isinstance(s, PrefillFirst) else self.schedule_chunks(len(decodes), stalled)
        return self.run(work, decodes)

    def schedule_decodes(self):
        scheduled, stalled = [], False
        for request in list(self.running):
            if request not in self.running or not request.decoding:
                continue
            while self.blocks_for(request.computed + 1) > request.blocks + self.free:
                stalled = True
                if self.preempt() is request:
                    break
            if request in self.running:
                self.grow(request, request.computed + 1)
                scheduled.append(request)
        return [r for r in scheduled if r in self.running], stalled

    def schedule_chunks(self, decodes, stalled):
        s, work = self.scheduler, []
        budget = s.token_budget - decodes
        for request in [r for r in self.running if not r.decoding]:
            chunk = min(request.prompt + request.made - request.computed, budget)
            if self.blocks_for(request.computed + chunk) - request.blocks > self.free:
                assert self.preempt() is request
                stalled = True
                continue
            self.grow(request, request.computed + chunk)
            work.append((request, chunk))
            budget -= chunk
        while not stalled and budget > 0 and self.waiting and len(self.running) < s.max_seqs:
            request = self.waiting[0]
            start = self.found(request)
            total = request.prompt + request.made
            chunk = min(total - start, budget)
            wanted = total if s.whole_prompt else start + chunk
            if self.blocks_for(wanted) + self.watermark > self.free:
                break
            self.admit(request)
            self.grow(request, start + chunk, start)
            work.append((request, chunk))
            budget -= chunk
        return work

    def admit_whole(self):
        s, work, tokens = self.scheduler, [], 0
        while self.waiting and len(self.running) < s.max_seqs:
            request = self.waiting[0]
            total = request.prompt + request.made
            start = self.found(request)
            chunk = total - start
            if work and tokens + chunk > s.token_budget:
                break
            if self.blocks_for(total) + self.watermark > self.free:
                break
            self.admit(request)
            self.grow(request, total, start)
            work.append((request, chunk))
            tokens += chunk
        return work

    def run(self, work, decodes):
        c = self.cost
        context = sum(r.computed for r in decodes)
        if work:
            tokens = len(decodes) + sum(n for _, n in work)
            behind = sum(r.computed for r, _ in work)
            pairs = sum(n * r.computed + n * (n + 1) / 2 for r, n in work)
            dt = lookup(c.pass_s, c.tail_s, tokens) + c.kappa_s * (context + behind) + c.pair_s * pairs
        else:
            dt = c.decode_s[len(decodes)] + c.kappa_s * context
        self.clock += dt
        for request in decodes:
            request.computed += 1
            request.made += 1
            request.told.append(self.clock)
        for request, n in work:
            request.computed += n
            if request.computed == request.prompt + request.made:
                request.made += 1
                request.decoding = True
                request.told.append(self.clock)
                if request.made == 1:
                    request.first = self.clock
        answered = [r for r in self.running if r.made == r.output]
        for request in answered:
            request.finish = self.clock
            self.running.remove(request)
        assert self.free >= 0
        return answered


def step_by_step(server: Server, arrivals: Arrivals) -> list[Request]:
    """Serve the arrivals one step at a time; a request that never fits must not be among them."""
    s = server.scheduler
    total = (1 << 40) if server.kv_tokens is None else server.kv_tokens
    total //= s.block_tokens
    watermark = 0 if server.kv_tokens is None else int(np.ceil(s.watermark * total))
    replicas = [Replica(server.cost, s, total, watermark) for _ in range(server.replicas)]
    requests = [
        Request(
            row=i,
            arrival=float(arrivals.arrival_s[i]),
            prompt=int(arrivals.prompt_tokens[i]),
            output=int(arrivals.output_tokens[i]),
            cached=0 if arrivals.cached_tokens is None else int(arrivals.cached_tokens[i]),
            group=-1 if arrivals.group is None else int(arrivals.group[i]),
        )
        for i in range(len(arrivals))
    ]
    roots = [r for r in requests if np.isfinite(r.arrival)]
    sent: list[Request] = []
    home: dict[int, int] = {}
    routed = 0
    while True:
        # Whichever is earliest: a step that can begin, or an arrival (arrivals first at the same moment).
        arrival = min(
            ([(roots[0].arrival, 0, roots[0].row)] if roots else []) + [(r.arrival, 1, r.row) for r in sent],
            default=None,
        )
        busy = [r for r in replicas if r.inside()]
        replica = min(busy, key=lambda r: r.clock, default=None)
        if replica is not None and (arrival is None or replica.clock < arrival[0]):
            for request in replica.step():
                after = -1 if arrivals.follows is None else int(arrivals.follows[request.row])
                if after >= 0:
                    requests[after].arrival = request.finish + float(arrivals.gap_s[request.row])
                    sent.append(requests[after])
            continue
        if arrival is None:
            return requests
        request = requests[arrival[2]]
        if arrival[1]:
            sent.remove(request)
        else:
            roots.pop(0)
        if s.routing == "round-robin":
            chosen = routed % len(replicas)
        elif s.routing == "prefix-aware" and request.group in home:
            chosen = home[request.group]
        else:
            chosen = min(range(len(replicas)), key=lambda j: (replicas[j].inside(), j))
            if request.group >= 0:
                home[request.group] = chosen
        routed += 1
        target = replicas[chosen]
        if not target.inside():
            target.clock = max(target.clock, request.arrival)
        target.waiting.append(request)
        request.replica = chosen


def batch_by_batch(server: Server, arrivals: Arrivals) -> list[Request]:
    """Static and dynamic batching, one decode step at a time."""
    s, c = server.scheduler, server.cost
    assert isinstance(s, Static)
    requests = [
        Request(i, float(arrivals.arrival_s[i]), int(arrivals.prompt_tokens[i]), int(arrivals.output_tokens[i]), 0, -1)
        for i in range(len(arrivals))
    ]
    for rep in range(server.replicas):
        queue, clock = requests[rep :: server.replicas], 0.0
        while queue:
            start = queue[: s.batch][-1].arrival
            if s.max_wait_s is not None:
                start = min(start, queue[0].arrival + s.max_wait_s)
            start = max(start, clock)
            batch: list[Request] = []
            while queue and len(batch) < s.batch and queue[0].arrival <= start:
                longer = [*batch, queue[0]]
                padded = max(r.prompt for r in longer) + max(r.output for r in longer)
                if batch and server.kv_tokens is not None and len(longer) * padded > server.kv_tokens:
                    break
                batch.append(queue.pop(0))
            prompt = max(r.prompt for r in batch)
            clock = start + lookup(c.pass_s, c.tail_s, len(batch) * prompt)
            clock += c.pair_s * len(batch) * prompt * (prompt + 1) / 2
            first = clock
            ends = [clock]
            for step in range(max(r.output for r in batch) - 1):
                clock += c.decode_s[len(batch)] + c.kappa_s * len(batch) * (prompt + step)
                ends.append(clock)
            for request in batch:
                request.started, request.first, request.finish, request.replica = start, first, clock, rep
                request.told = ends[: request.output]
    return requests
