"""Search: every combination of axes, each with its capacity under an SLO; the work goes to any executor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from reckoner.catalogue import find
from reckoner.design import Design, Serving, Slo, Workload
from reckoner.errors import InputError, ReckonerError, UnknownNameError
from reckoner.predict.efficiency import Efficiency
from reckoner.simulate.arrivals import Arrivals
from reckoner.simulate.schedulers import Scheduler
from reckoner.simulate.sizing import Capacity, Mapper, capacity

NOUNS = ("model", "device")
SERVING = tuple(name for name in Serving.__slots__ if name not in ("scheduler", "batch"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One design of a search.

    Parameters
    ----------
    axes : mapping
        Its place on each axis, by name.
    devices : int
        Devices of all its replicas.
    capacity : Capacity or None
        Rate that it carries; None where it carries none.
    why_not : str
        The reason, where it carries none.
    usd_per_m_requests : float or None
        Rent at full capacity; None without a rate. [USD]
    """

    axes: Mapping[str, Any]
    devices: int
    capacity: Capacity | None
    why_not: str = ""
    usd_per_m_requests: float | None = None


def search(  # noqa: PLR0913 - one question, and how hard to look
    design: Design,
    workload: Workload | Arrivals,
    slo: Slo,
    *,
    efficiency: Efficiency | None = None,
    scheduler: Scheduler | None = None,
    executor: Mapper | None = None,
    n: int = 4000,
    seeds: int = 5,
    usd_per_hour: Mapping[str, float] | None = None,
    **axes: Sequence[Any],
) -> tuple[Found, ...]:
    """Capacity of every combination, best first: cheapest by request where rates are given, else most per device.

    Parameters
    ----------
    design : Design
        What the axes do not change.
    workload, slo, efficiency, scheduler
        As in :func:`~reckoner.simulate.sizing.capacity`.
    executor : Mapper, optional
        Anything that maps, an executor of Dask's or a pool of Ray's too; by default a pool of processes.
    n, seeds : int
        As in :func:`~reckoner.simulate.sizing.capacity`.
    usd_per_hour : mapping, optional
        Rent of one device, by its catalogue name. [USD/h]
    **axes : sequence
        ``model``, ``device`` (names or nouns) or a field of :class:`~reckoner.design.Serving`.

    Raises
    ------
    UnknownNameError
        No such axis.
    InputError
        An axis is empty.
    """
    for name, values in axes.items():
        if name not in (*NOUNS, *SERVING):
            raise UnknownNameError.of("axis", name, (*NOUNS, *SERVING))
        if not values:
            raise InputError(f"axis {name} is empty; give at least one value")
    tasks = [
        (design, workload, slo, efficiency, scheduler, (n, seeds), dict(zip(axes, values, strict=True)))
        for values in product(*axes.values())
    ]
    if executor is None:
        with ProcessPoolExecutor() as pool:
            found = list(pool.map(_try, tasks))
    else:
        found = list(executor.map(_try, tasks))
    if usd_per_hour is not None:
        found = [_priced(row, usd_per_hour, design) for row in found]
    return tuple(sorted(found, key=_order))


def _try(task: tuple[Any, ...]) -> Found:
    """One design; a top-level function, so that any executor can send it elsewhere."""
    design, workload, slo, efficiency, scheduler, (n, seeds), axes = task
    shown = {name: value if isinstance(value, (str, int, float)) else value.name for name, value in axes.items()}
    try:
        nouns: dict[str, Any] = {}
        for name, look in (("model", find.model), ("device", find.device)):
            if name in axes:
                nouns[name] = look(axes[name]) if isinstance(axes[name], str) else axes[name]
        serving = replace(design.serving, **{name: axes[name] for name in axes if name in SERVING})
        asked = replace(design, serving=serving, **nouns)
        devices = int(serving.tp * serving.pp * serving.replicas)
    except ReckonerError as error:
        return Found(axes=shown, devices=0, capacity=None, why_not=str(error))
    try:
        held = capacity(asked, workload, slo, efficiency=efficiency, scheduler=scheduler, n=n, seeds=seeds)
    except ReckonerError as error:
        return Found(axes=shown, devices=devices, capacity=None, why_not=str(error))
    return Found(axes=shown, devices=devices, capacity=held)


def _priced(row: Found, usd_per_hour: Mapping[str, float], design: Design) -> Found:
    if row.capacity is None:
        return row
    device = find.device(str(row.axes["device"])).name if "device" in row.axes else design.device.name
    if device not in usd_per_hour:
        raise InputError(f"usd_per_hour has no {device}; it has {', '.join(sorted(usd_per_hour))}")
    usd = usd_per_hour[device] * row.devices / 3600.0 / row.capacity.requests_per_s * 1e6
    return replace(row, usd_per_m_requests=usd)


def _order(row: Found) -> tuple[Any, ...]:
    if row.capacity is None:
        return (2, 0.0, str(row.axes))
    if row.usd_per_m_requests is not None:
        return (0, row.usd_per_m_requests, str(row.axes))
    return (1, -row.capacity.requests_per_s / max(row.devices, 1), str(row.axes))
