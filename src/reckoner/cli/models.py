"""``reckoner models``: the built-in models, or one of them, or a ``config.json``, with every count."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from reckoner.cli._csv import csv_option, one_format, print_csv
from reckoner.cli.registry import json_option, print_json, stdout_console

if TYPE_CHECKING:
    from reckoner.catalogue.model import Model


@click.command()
@click.argument("name", required=False)
@json_option
@csv_option
def command(name: str | None, as_json: bool, as_csv: bool) -> None:
    """List built-in models, or show one (or a config.json) with exact counts.

    \b
    Example:
      reckoner models
      reckoner models llama-3.1-8b
      reckoner models path/to/config.json --json
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    from reckoner.catalogue import find

    one_format(as_json=as_json, as_csv=as_csv)
    if name is not None:
        model = find.model(name)
        if as_json:
            print_json(_record(model))
        elif as_csv:
            print_csv([_line(model)])
        else:
            _show(model)
        return
    found = [find.model(known) for known in find.models()]
    if as_json:
        print_json([_record(model) for model in found])
        return
    if as_csv:
        print_csv(map(_line, found))
        return
    _table(found)


def _record(model: Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "title": model.title,
        "architecture": model.architecture,
        "params": model.params,
        "active_params": model.active_params,
        "matmul_params": model.matmul_params,
        "parts": dict(model.parts),
        "n_layers": model.n_layers,
        "hidden": model.hidden,
        "n_heads": model.n_heads,
        "n_kv_heads": model.n_kv_heads,
        "head_dim": model.head_dim,
        "ffn": model.ffn,
        "vocab": model.vocab,
        "tied": model.tied,
        "window": model.window,
        "max_context": model.max_context,
        "attention": [
            {**asdict(group), "kv_elements_per_token": group.kv_elements_per_token} for group in model.attention
        ],
        "kv_elements_per_token": model.kv_elements_per_token,
        "experts": None if model.experts is None else asdict(model.experts),
        "latent": None if model.latent is None else asdict(model.latent),
        "state": None if model.state is None else asdict(model.state),
        "state_elements": model.state_elements,
        "aliases": list(model.aliases),
        "note": model.note,
        "source": model.source,
        "checked": None if model.checked is None else model.checked.isoformat(),
    }


def _line(model: Model) -> dict[str, Any]:
    """One line of CSV: single figures only."""
    nested = ("parts", "attention", "experts", "latent", "state", "aliases")
    counts = {"n_experts": model.n_experts, "n_active": model.n_active}
    return {name: value for name, value in _record(model).items() if name not in nested} | counts


def _billions(count: int) -> str:
    if count >= 100e9:
        return f"{count / 1e9:.0f} B"
    return f"{count / 1e9:.3g} B" if count >= 1e9 else f"{count / 1e6:.3g} M"


def _table(models: list[Model]) -> None:
    from rich.table import Table

    from reckoner.units import show

    table = Table(box=None, pad_edge=False)
    left = ("model", "architecture")
    for title in (*left, "weights", "active", "layers", "hidden", "heads", "KV/token", "window", "experts", "context"):
        table.add_column(title, justify="left" if title in left else "right", no_wrap=True)
    for model in models:
        table.add_row(
            model.name,
            model.architecture,
            _billions(model.params),
            "" if model.experts is None else _billions(model.active_params),
            str(model.n_layers),
            str(model.hidden),
            f"{model.n_heads}/{model.n_kv_heads}" if model.n_heads else "-",
            show(2.0 * model.kv_elements_per_token, "B"),
            "" if model.window is None else str(model.window),
            "" if model.experts is None else f"{model.n_active}/{model.n_experts}",
            "" if model.max_context is None else str(model.max_context),
        )
    stdout_console().print(table)
    click.echo(f"{len(models)} models; KV in 16 bits. One with every count: reckoner models NAME", err=True)


def _show(model: Model) -> None:
    from reckoner.units import show

    lines = [
        ("model", f"{model.name} ({model.title})" if model.title != model.name else model.name),
        ("architecture", model.architecture),
        ("weights", f"{model.params:,}"),
    ]
    if model.experts is not None:
        lines.append(("active", f"{model.active_params:,} a token"))
    lines += [(f"  {part.replace('_', ' ')}", f"{count:,}") for part, count in model.parts.items() if count]
    lines += [
        ("layers", f"{model.n_layers} of width {model.hidden:,}"),
        ("vocabulary", f"{model.vocab:,}{', embedding tied to the head' if model.tied else ''}"),
    ]
    for group in model.attention:
        look = "all tokens" if group.window is None else f"the last {group.window:,} tokens"
        form = f"latent of {group.latent_dim}" if group.latent_dim else f"{group.n_kv_heads} key-value heads"
        reads = "" if group.stores else ", reads an earlier layer's cache"
        lines.append(
            ("attention", f"{group.n_layers} layers, {group.n_heads} heads of {group.head_dim}, {form}, {look}{reads}")
        )
    if model.state is not None:
        lines.append(
            (
                "recurrent",
                f"{model.state.n_layers} layers of {model.state.kind}, {model.state_elements:,} elements a sequence",
            )
        )
    if model.experts is not None:
        e = model.experts
        lines.append(
            ("experts", f"{e.n_layers} layers, {e.n_active} of {e.n_experts} a token, {e.params_each:,} weights each")
        )
    lines.append(("KV a token", f"{show(2.0 * model.kv_elements_per_token, 'B')} in 16 bits"))
    if model.max_context is not None:
        lines.append(("context", f"{model.max_context:,} tokens"))
    if model.aliases:
        lines.append(("also", ", ".join(model.aliases)))
    if model.note:
        lines.append(("note", model.note))
    lines.append(("source", model.source))
    if model.checked is not None:
        lines.append(("checked", model.checked.isoformat()))
    for label, text in lines:
        click.echo(f"{label:18} {text}")
