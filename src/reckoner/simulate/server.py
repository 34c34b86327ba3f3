"""A server for the simulator: what its steps cost, what its cache holds, and how many copies there are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reckoner.catalogue.device import Device
from reckoner.design import Design, Workload
from reckoner.errors import DoesNotFitError, InputError
from reckoner.physics.kvcache import tokens_that_fit
from reckoner.predict.efficiency import Efficiency
from reckoner.predict.plan import ACTIVATION_COPIES, prepare
from reckoner.predict.terms import ACTIVATION_BYTES
from reckoner.predict.work import kv_copies
from reckoner.simulate.cost import StepCost, limit_cost, step_cost
from reckoner.simulate.power import active_w
from reckoner.simulate.prior import Front, front_of, is_served, served
from reckoner.simulate.schedulers import MOST, Continuous, Scheduler, as_served_on
from reckoner.units import show

MEMORY_SHARE = 0.9
"""Share of a device's memory that an engine takes: vLLM's gpu_memory_utilization, 0.9 in the releases of 2023 to 2025
that our measurements ran on, 0.92 in its main branch since (vllm/config/cache.py at 002f10e0, read 2026-11-21). Where
the engine states how many tokens its cache holds, give ``kv_tokens`` instead."""

INSTALLED = {"gpu": 1.06}
"""Memory that a process finds over the size a card is sold by, by class: sizes are sold in GB and built in GiB, less
what the driver keeps (23.56 GiB on a card of 24 GB, github.com/wtdcode/vllm-backport/issues/34; 79.1 GiB on an H100 of
80 GB). One elsewhere."""

LOGIT_BYTES = 8.0
"""Bytes of an entry of the vocabulary for each sequence while an engine measures its peak before it sizes the cache:
logits in 32 bits and the probabilities made of them. Assumption."""

STATIC_TOKENS = 8192  # entries of the table of passes where no budget bounds a pass; beyond it costs grow in a line

MOST_KV_TOKENS = 10**15
"""Largest cache that is counted, in tokens; far beyond any memory (assumption)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Server:
    """What the kernel needs to know of a deployment.

    Parameters
    ----------
    cost : StepCost
        Of one replica.
    scheduler : Scheduler
        Who shares a step.
    kv_tokens : int, optional
        Tokens that one replica's cache holds; None never runs out. [token]
    replicas, devices : int
        Copies, and devices of all copies together.
    lanes : int
        Micro-batches that a replica has on the way through its pipeline; 1 without one. Each has its share of the seats
        and of the cache, and a step of its own cost.
    limit : StepCost, optional
        Cost at printed limits, for the power.
    idle_w, tdp_w : float, optional
        Of one device. [W]
    active_w : (seats + 1,) float, optional
        Power of a device while a lane decodes so many sequences; by default linear in the work at printed limits.
        [W]
    tokens_per_step : float
        Tokens that a decode step yields of each sequence; above 1 with speculation.
    front_s, front_token_s : float
        What each request, and each token of its prompt, spends outside of steps: it delays the first token and all that
        follow, and nobody else. [s], [s/token]
    name : str
        What it is, in words.
    """

    cost: StepCost
    scheduler: Scheduler
    kv_tokens: int | None = None
    replicas: int = 1
    devices: int = 1
    lanes: int = 1
    limit: StepCost | None = None
    idle_w: float | None = None
    tdp_w: float | None = None
    active_w: NDArray[np.float64] | None = None
    tokens_per_step: float = 1.0
    front_s: float = 0.0
    front_token_s: float = 0.0
    name: str = "server"

    def __post_init__(self) -> None:
        """Hold the invariants of a server."""
        if self.replicas < 1 or self.devices < 1 or self.lanes < 1:
            raise InputError(
                f"replicas is {self.replicas}, devices {self.devices} and lanes {self.lanes}; each is at least 1"
            )
        if max(self.replicas, self.lanes) > MOST or (self.kv_tokens or 0) > MOST_KV_TOKENS:
            raise InputError(
                f"replicas is {self.replicas}, lanes {self.lanes} and kv_tokens {self.kv_tokens}; at most {MOST:,} of "
                f"the former and {MOST_KV_TOKENS:,} tokens"
            )
        if not 1.0 <= self.tokens_per_step < float("inf"):
            raise InputError(f"tokens_per_step is {self.tokens_per_step!r}; a step yields at least one token")
        for name in ("front_s", "front_token_s"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise InputError(f"{name} is {getattr(self, name)!r}; it must be at least 0 s")
        if self.kv_tokens is not None and self.kv_tokens < 1:
            raise InputError(f"kv_tokens is {self.kv_tokens}; the cache must hold at least one token")
        seats = self.seats
        if len(self.cost.decode_s) <= seats:
            raise InputError(
                f"decode_s has {len(self.cost.decode_s)} entries for up to {seats} sequences; give {seats + 1}"
            )

    @property
    def seats(self) -> int:
        """Requests that a lane works on at once."""
        return seats_of(self.scheduler, self.lanes)

    def delay_s(self, prompt_tokens: ArrayLike) -> NDArray[np.float64]:
        """Time that requests of such prompts spend outside of steps, in s."""
        return np.asarray(self.front_s + self.front_token_s * np.asarray(prompt_tokens, dtype=np.float64))


def at_replicas(server: Server, replicas: int) -> Server:
    """Return the same server in so many copies, by name too."""
    counted = f"{server.replicas} x "
    name = f"{replicas} x {server.name.removeprefix(counted)}" if server.name.startswith(counted) else server.name
    devices = server.devices // server.replicas * replicas
    return replace(server, replicas=replicas, devices=devices, name=name)


def seats_of(scheduler: Scheduler, lanes: int = 1) -> int:
    """Requests that a lane works on at once."""
    return -(-scheduler.max_seqs // lanes) if isinstance(scheduler, Continuous) else scheduler.batch


def server_of(
    design: Design,
    *,
    efficiency: Efficiency | None = None,
    scheduler: Scheduler | None = None,
    kv_tokens: int | None = None,
    replicas: int | None = None,
    workload: Workload | None = None,
    front: Front | None = None,
) -> Server:
    """Server of a design.

    Parameters
    ----------
    design : Design
        Of scalars; ``serving.batch`` plays no part here, the scheduler says how many share a step.
    efficiency : Efficiency, optional
        What the deployment gets of the printed limits; by default what was learned from the steps of served
        deployments like it (:func:`~reckoner.simulate.prior.served`), or from all measurements where no server
        on a GPU is asked for.
    scheduler : Scheduler, optional
        With the limits of :func:`~reckoner.simulate.schedulers.as_served_on` by default.
    kv_tokens : int, optional
        Tokens of a replica's cache; by default what :data:`MEMORY_SHARE` of the memory leaves.
    replicas : int, optional
        By default those of the design.
    workload : Workload, optional
        Typical lengths, on which learned efficiencies depend a little.

    front : Front, optional
        What requests spend outside of steps; by default what was learned with the default efficiency, and nothing
        beside an efficiency that is given.

    Raises
    ------
    DoesNotFitError
        The weights leave no room for a cache.
    """
    chosen = scheduler if scheduler is not None else default_scheduler(design.device)
    tokens = chosen.token_budget if isinstance(chosen, Continuous) else STATIC_TOKENS
    lanes = int(design.serving.pp)
    seats = seats_of(chosen, lanes)
    watts = active_w(design, workload if workload is not None else Workload(), seats) if efficiency is None else None
    if efficiency is None and is_served(design):
        efficiency = served(design)
        front = front_of(design) if front is None else front
    cost = step_cost(design, efficiency, max_seqs=seats, tokens=tokens, workload=workload)
    each = int(design.serving.tp) * lanes
    copies = int(design.serving.replicas) if replicas is None else replicas
    device = design.device
    return Server(
        cost=cost,
        scheduler=chosen,
        kv_tokens=kv_tokens if kv_tokens is not None else cache_tokens(design, tokens, seats_of(chosen)),
        replicas=copies,
        devices=copies * each,
        lanes=lanes,
        limit=limit_cost(design, max_seqs=seats, tokens=tokens),
        idle_w=prepare(design).idle_w if device.tdp_w is not None else None,
        tdp_w=device.tdp_w,
        active_w=watts,
        front_s=0.0 if front is None else front.seconds,
        front_token_s=0.0 if front is None else front.token_s,
        name=f"{copies} x {each} {device.name} with {design.model.name}",
    )


def default_scheduler(device: Device) -> Continuous:
    """Continuous batching with the limits that an engine chooses on a device."""
    return as_served_on(device.name, installed_bytes(device))


def installed_bytes(device: Device) -> float:
    """Memory that a process finds on a device."""
    return INSTALLED.get(device.device_class, 1.0) * device.memory_bytes


def cache_tokens(design: Design, step_tokens: int, max_seqs: int) -> int | None:
    """Tokens that one replica's cache holds; None where tokens take none (recurrent models).

    Parameters
    ----------
    design : Design
        Of scalars.
    step_tokens, max_seqs : int
        Largest step and number of sequences, for which an engine keeps room aside.

    Raises
    ------
    DoesNotFitError
        Nothing is left beside weights and activations.
    """
    plan, serving = prepare(design), design.serving
    shape, tp, pp = plan.shape, float(serving.tp), float(serving.pp)
    per_token = float(shape.kv_bytes_per_token + shape.windowed_kv_bytes_per_token)
    if per_token == 0.0:
        return None
    weights = 0.0 if plan.in_flash else float(shape.weight_bytes) / (tp * pp)
    activations = ACTIVATION_COPIES * ACTIVATION_BYTES * float(shape.hidden) * step_tokens / tp
    activations += LOGIT_BYTES * design.model.vocab * max_seqs / tp
    taken = MEMORY_SHARE * installed_bytes(design.device)
    room = taken - weights - activations - plan.runtime_bytes
    tokens = int(tokens_that_fit(room, per_token * float(kv_copies(shape.kv_heads, tp)) / (tp * pp)))
    if tokens < 1:
        raise DoesNotFitError(
            f"{design.model.name} needs {show(weights + activations + plan.runtime_bytes, 'B', 4)} on each "
            f"{design.device.name} before any cache, of {show(taken, 'B', 4)}; "
            "raise tp or pp, or store weights in fewer bits"
        )
    return tokens
