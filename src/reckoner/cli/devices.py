"""``reckoner devices``: the devices of the catalogue, or one of them with its source and prices."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import click

from reckoner.catalogue.device import TIERS
from reckoner.cli._csv import csv_option, one_format, print_csv
from reckoner.cli.registry import json_option, print_json, stdout_console

if TYPE_CHECKING:
    from reckoner.catalogue.device import Device
    from reckoner.catalogue.rate import Rate


@click.command()
@click.argument("name", required=False)
@click.option("--tier", type=click.Choice(TIERS), help="Only devices of this tier.")
@json_option
@csv_option
def command(name: str | None, tier: str | None, as_json: bool, as_csv: bool) -> None:
    """List devices with dense peaks, or show one with source, date and prices.

    \b
    Example:
      reckoner devices --tier edge
      reckoner devices h100
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    from reckoner.catalogue import find
    from reckoner.catalogue.rate import load_rates

    one_format(as_json=as_json, as_csv=as_csv)
    if name is not None:
        device = find.device(name)
        rates = load_rates(device.name)
        if as_csv:
            print_csv([_line(device)])
            return
        if as_json:
            print_json({**_record(device), "rates": [_rate_record(rate) for rate in rates]})
            return
        _show(device, rates)
        return
    found = [device for device in map(find.device, find.devices()) if tier in (None, device.tier)]
    if as_json:
        print_json([_record(device) for device in found])
        return
    if as_csv:
        print_csv(map(_line, found))
        return
    _table(found)


def _record(device: Device) -> dict[str, Any]:
    record = {field.name: getattr(device, field.name) for field in fields(device)}
    return {**record, "peak_flop_per_s": dict(device.peak_flop_per_s), "checked": device.checked.isoformat()}


def _line(device: Device) -> dict[str, Any]:
    """One line of CSV: a peak a column, names that it answers to left out."""
    record = _record(device)
    peaks = {f"peak_{dtype}_per_s": rate for dtype, rate in record.pop("peak_flop_per_s").items()}
    del record["aliases"]
    return record | peaks


def _rate_record(rate: Rate) -> dict[str, Any]:
    return {**asdict(rate), "valid_from": rate.valid_from.isoformat(), "valid_to": rate.valid_to.isoformat()}


def _peak(device: Device, *dtypes: str) -> str:
    from reckoner.units import show

    for dtype in dtypes:
        if dtype in device.peak_flop_per_s:
            return show(device.peak(dtype), "OP/s" if dtype.startswith("int") else "FLOP/s")
    return "-"


def _table(devices: list[Device]) -> None:
    from rich.table import Table

    from reckoner.units import show

    table = Table(box=None, pad_edge=False)
    for title in ("device", "tier", "memory", "bandwidth", "fp16/bf16", "fp8", "int8", "fp4", "power"):
        table.add_column(title, justify="left" if title in ("device", "tier") else "right", no_wrap=True)
    for device in devices:
        table.add_row(
            device.name,
            device.tier,
            show(device.memory_bytes, "B"),
            show(device.bandwidth_bytes_per_s, "B/s"),
            _peak(device, "bf16", "fp16"),
            _peak(device, "fp8"),
            _peak(device, "int8"),
            _peak(device, "fp4"),
            "-" if device.tdp_w is None else show(device.tdp_w, "W"),
        )
    stdout_console().print(table)
    click.echo(f"{len(devices)} devices; peaks are dense. One with source and prices: reckoner devices NAME", err=True)


def _show(device: Device, rates: tuple[Rate, ...]) -> None:
    from reckoner.units import show

    lines = [
        ("device", f"{device.name} ({device.title})"),
        ("tier", f"{device.tier}, {device.device_class}"),
        ("memory", show(device.memory_bytes, "B")),
        ("bandwidth", show(device.bandwidth_bytes_per_s, "B/s")),
        *((f"peak {dtype}", _peak(device, dtype)) for dtype in device.peak_flop_per_s),
    ]
    for label, value, unit in (
        ("flash", device.flash_bytes, "B"),
        ("SRAM", device.sram_bytes, "B"),
        ("clock", device.clock_hz, "Hz"),
        ("power", device.tdp_w, "W"),
        ("idle", device.idle_w, "W"),
    ):
        if value is not None:
            lines.append((label, show(value, unit)))
    if device.link_bytes_per_s is not None:
        kind = f" ({device.link_kind})" if device.link_kind else ""
        lines.append(("link, one way", show(device.link_bytes_per_s, "B/s") + kind))
    if device.n_cores is not None:
        lines.append(("cores", str(device.n_cores)))
    if device.year is not None:
        lines.append(("year", str(device.year)))
    if device.aliases:
        lines.append(("also", ", ".join(device.aliases)))
    if device.note:
        lines.append(("note", device.note))
    lines += [("source", device.source), ("checked", device.checked.isoformat())]
    for label, text in lines:
        click.echo(f"{label:14} {text}")
    if rates:
        _show_rates(rates)


def _show_rates(rates: tuple[Rate, ...]) -> None:
    from rich.table import Table

    sources = sorted({rate.source for rate in rates})
    table = Table(box=None, pad_edge=False)
    numbers = ("$/h", "low", "high")
    for title in ("provider", "", *numbers, "seen", "source", "note"):
        table.add_column(title, justify="right" if title in numbers else "left")
    for rate in rates:
        table.add_row(
            rate.provider,
            "spot" if rate.spot else "",
            f"{rate.usd_per_hour:.3f}",
            f"{rate.usd_low:.3f}",
            f"{rate.usd_high:.3f}",
            f"{rate.valid_from} to {rate.valid_to}",
            str(sources.index(rate.source) + 1),
            rate.note,
        )
    click.echo()
    stdout_console().print(table)
    for number, source in enumerate(sources, 1):
        click.echo(f"[{number}] {source}")
