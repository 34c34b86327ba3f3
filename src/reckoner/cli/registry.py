"""``reckoner registry``: model versions by their content; list, show, add, promote, tombstone, lineage, verify."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from reckoner.registry import Lineage, Registry, Version

DEFAULT_ROOT = "out/registry"  # where `reckoner demo` registers the tutor


def root_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--root``, which falls back to RECKONER_REGISTRY."""
    return click.option(
        "--root",
        envvar="RECKONER_REGISTRY",
        default=DEFAULT_ROOT,
        show_default=True,
        show_envvar=True,
        type=click.Path(path_type=Path),
        help="The registry's folder.",
    )(function)


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(function)


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    click.echo(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False))


def stdout_console() -> Console:
    """Console for tables: as wide as the terminal, and wide enough to lose nothing when piped."""
    import sys

    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 200)


@click.group()
def command() -> None:
    """Keep model versions by content: register, name, withdraw, verify.

    \b
    Example:
      reckoner registry add my-model --seed 7 --notes "FP32 base"
      reckoner registry promote a1b2c3d4 v0.1.0
      reckoner registry list
    """  # noqa: D301 - click reads the backspace as "keep these lines"


@command.command("list")
@root_option
@json_option
def list_versions(root: Path, as_json: bool) -> None:
    """List every version: names, digest, status, size, notes."""
    versions = _open(root).list()
    if as_json:
        print_json([version.to_json() for version in versions])
        return
    if not versions:
        click.echo(f"no versions in {root} yet; add one with: reckoner registry add FOLDER", err=True)
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("digest", "version", "status", "parent", "size", "notes"):
        table.add_column(name, justify="right" if name == "size" else "left")
    for version in versions:
        table.add_row(*_row(version))
    stdout_console().print(table)


@command.command()
@click.argument("version")
@root_option
@json_option
def show(version: str, root: Path, as_json: bool) -> None:
    """Show one version: files with digests, lineage, notes.

    VERSION is a semver, a run id, a digest, or at least eight digits of one.
    """
    found = _open(root).get(version, include_tombstoned=True)
    if as_json:
        print_json(found.to_json())
        return
    click.echo(f"digest          {found.digest}")
    click.echo(f"version         {', '.join(found.semvers) or '-'}")
    click.echo(f"status          {found.status}" + (f": {found.tombstone}" if found.tombstone is not None else ""))
    click.echo(f"notes           {found.notes or '-'}")
    for name, value in found.lineage.to_json().items():
        shown = json.dumps(value, sort_keys=True) if isinstance(value, dict) else value
        click.echo(f"{name.replace('_', ' '):15} {'-' if value in (None, {}) else shown}")
    for role, file in sorted(found.files.items()):
        click.echo(f"{file.sha256[:12]}  {file.size_bytes:>12,}  {role}")


@command.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--parent", help="The version that it was made from.")
@click.option("--seed", type=int, help="Seed of its training.")
@click.option("--notes", default="", help="Free text.")
@click.option(
    "--lineage",
    "lineage_file",
    type=click.Path(path_type=Path),
    help="JSON with corpus_hash, hyperparameters, seed, git_sha.",
)
@root_option
@json_option
def add(
    folder: Path, parent: str | None, seed: int | None, notes: str, lineage_file: Path | None, root: Path, as_json: bool
) -> None:
    """Check a model folder and store it; it waits without a name.

    FOLDER holds config.json, model.safetensors, tokenizer.json and, for an adapted model, adapter_config.json with
    adapter_model.safetensors.
    """
    from reckoner.engines.weights import ROLES
    from reckoner.errors import InputError

    if not folder.is_dir():
        raise InputError(f"no model folder {folder}; give a folder with config.json and model.safetensors")
    registry = _open(root)
    lineage = _lineage(registry, parent, seed, lineage_file)
    files = {role: folder / role for role in ROLES if (folder / role).exists()}
    run_id = registry.register_pending(files, lineage=lineage, notes=notes)
    version = registry.get(run_id)
    if as_json:
        print_json({"run_id": run_id, **version.to_json()})
        return
    click.echo(run_id)
    if version.semvers:
        click.echo(f"already here as {version.label}", err=True)
    else:
        click.echo(f"name it with: reckoner registry promote {version.short} vMAJOR.MINOR.PATCH", err=True)


@command.command()
@click.argument("version")
@click.argument("semver")
@root_option
@json_option
def promote(version: str, semver: str, root: Path, as_json: bool) -> None:
    """Give a version a name; a name never moves.

    \b
    Example:
      reckoner registry promote a1b2c3d4 v0.1.0
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    found = _open(root).promote(version, semver)
    if as_json:
        print_json(found.to_json())
    else:
        click.echo(f"{semver} -> {found.digest}")


@command.command()
@click.argument("version")
@click.option("--reason", required=True, help="Why it is withdrawn.")
@root_option
@json_option
def tombstone(version: str, reason: str, root: Path, as_json: bool) -> None:
    """Withdraw a version; its content and names stay, marked.

    \b
    Example:
      reckoner registry tombstone v0.2.0 --reason "trained on the probes"
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    found = _open(root).tombstone(version, reason)
    if as_json:
        print_json(found.to_json())
        return
    click.echo(f"{found.digest} is tombstoned: {found.tombstone}")
    if found.semvers:
        click.echo(f"still pointing to it: {', '.join(found.semvers)}", err=True)


@command.command()
@click.argument("version", required=False)
@root_option
@json_option
def lineage(version: str | None, root: Path, as_json: bool) -> None:
    """Draw all versions as Mermaid text, or list one's ancestors.

    \b
    Example:
      reckoner registry lineage > lineage.mmd
      reckoner registry lineage v0.3.0
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    registry = _open(root)
    if version is None:
        text = registry.lineage_mermaid()
        if as_json:
            print_json({"mermaid": text})
        else:
            click.echo(text, nl=False)
        return
    ancestors = registry.lineage(version)
    if as_json:
        print_json({"version": registry.get(version, include_tombstoned=True).digest, "ancestors": _all(ancestors)})
        return
    for ancestor in ancestors:
        click.echo(f"{ancestor.digest}  {', '.join(ancestor.semvers) or '-'}  {ancestor.status}")
    if not ancestors:
        click.echo(f"{version} has no parent", err=True)


@command.command()
@root_option
@json_option
def verify(root: Path, as_json: bool) -> None:
    """Rehash every stored file; exit 1 and name each damaged one."""
    seen = _open(root).verify()
    if as_json:
        print_json(
            {
                "ok": seen.ok,
                "versions": seen.versions,
                "objects": seen.objects,
                "size_bytes": seen.size_bytes,
                "problems": list(seen.problems),
                "unreferenced": list(seen.unreferenced),
            }
        )
    else:
        for problem in seen.problems:
            click.echo(problem)
        if seen.unreferenced:
            click.echo(f"{len(seen.unreferenced)} stored files belong to no version (harmless)", err=True)
        verdict = "every byte is as it was written" if seen.ok else f"problems: {len(seen.problems)}"
        click.echo(
            f"{seen.versions} versions, {seen.objects} files, {seen.size_bytes:,} bytes; {verdict}", err=not seen.ok
        )
    if not seen.ok:
        click.get_current_context().exit(1)


def _open(root: Path) -> Registry:
    from reckoner.registry import Registry

    return Registry.open(root)


def _all(versions: tuple[Version, ...]) -> list[dict[str, Any]]:
    return [version.to_json() for version in versions]


def _row(version: Version) -> list[str]:
    from reckoner.units import show as quantity

    return [
        version.short,
        ", ".join(version.semvers) or "-",
        version.status,
        "-" if version.lineage.parent is None else version.lineage.parent[:8],
        quantity(version.size_bytes, "B"),
        version.notes,
    ]


def _lineage(registry: Registry, parent: str | None, seed: int | None, path: Path | None) -> Lineage:
    from reckoner.errors import InputError
    from reckoner.files import read_json
    from reckoner.registry import Lineage

    told: dict[str, Any] = {} if path is None else read_json(path)
    keys = ("corpus_hash", "hyperparameters", "seed", "git_sha")
    if not isinstance(told, dict) or told.keys() - set(keys):
        raise InputError(
            f"{path}: a lineage is a JSON object with some of {', '.join(keys)}; --parent gives the parent"
        )
    if seed is not None:
        told = {**told, "seed": seed}
    digest = None if parent is None else registry.get(parent, include_tombstoned=True).digest
    return Lineage(parent=digest, **told)
