"""``reckoner capacity --axis``: every combination of axes with what it carries, best first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reckoner.cli._design import console, words
from reckoner.errors import InputError

if TYPE_CHECKING:
    from reckoner.design import Design, Slo
    from reckoner.simulate.designs import Found

WHOLE = ("tp", "pp", "ep", "dp", "replicas")


def axes_of(texts: tuple[str, ...]) -> dict[str, list[Any]]:
    """Read axes such as ``tp=1,2,4``.

    Raises
    ------
    InputError
        One has no name or no values, or a number of devices is none.

    Examples
    --------
    >>> axes_of(("tp=1,2", "weights=fp8"))
    {'tp': [1.0, 2.0], 'weights': ['fp8']}
    """
    found: dict[str, list[Any]] = {}
    for text in texts:
        name, _, values = text.partition("=")
        if not name or not values or name in found:
            raise InputError(f"--axis is {text!r}; give a name once and its values, such as tp=1,2,4")
        parts: list[Any] = list(words(values))
        if name in WHOLE:
            try:
                parts = [float(int(part)) for part in parts]
            except ValueError as error:
                raise InputError(f"--axis {text}: {name} takes whole numbers, such as {name}=1,2,4") from error
        found[name] = parts
    return found


def searched(design: Design, slo: Slo, options: dict[str, Any]) -> tuple[dict[str, Any], tuple[Found, ...]]:
    """Try every combination; the work goes to a pool of processes."""
    from concurrent.futures import ProcessPoolExecutor
    from dataclasses import asdict

    from reckoner.design import Workload
    from reckoner.simulate.designs import search

    if options["usd_per_hour"] is not None or options["plot"] is not None or options["requests_per_s"] is not None:
        raise InputError("--axis asks what each design carries; leave out --usd-per-hour, --plot and --rate")
    for name in ("policy", "max_seqs", "token_budget", "kv_tokens"):
        if options[name] not in (None, "continuous"):
            raise InputError(f"--axis takes each engine's own limits; leave out --{name.replace('_', '-')}")
    if options["length_cv"] != 0.0 or options["lengths"] is not None:
        raise InputError("--axis compares designs at one length; leave out --length-cv and --lengths")
    workload = Workload(prompt_tokens=options["prompt_tokens"], output_tokens=options["output_tokens"])
    axes: dict[str, Any] = dict(axes_of(options["axis"]))
    with ProcessPoolExecutor(options["workers"]) as pool:
        found = search(design, workload, slo, executor=pool, n=options["n"], seeds=options["seeds"], **axes)
    rows = [{**asdict(row), "axes": dict(row.axes)} for row in found]
    return {"found": rows}, found


def show_found(found: tuple[Found, ...]) -> None:
    """Print a table, best first by device."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for name in (*found[0].axes, "devices", "requests/s", "90% interval", "per device", "gives way"):
        table.add_column(name, justify="left" if name in found[0].axes else "right")
    for row in found:
        places = [f"{value:g}" if isinstance(value, float) else str(value) for value in row.axes.values()]
        held = row.capacity
        if held is None:
            table.add_row(*places, str(row.devices), "none", "", "", row.why_not.partition(";")[0])
            continue
        table.add_row(
            *places, str(row.devices), f"{held.requests_per_s:.4g}", f"{held.low:.4g} - {held.high:.4g}",
            f"{held.requests_per_s / row.devices:.4g}", held.binding,
        )  # fmt: skip
    console().print(table)
