"""``reckoner ledger``: look at the ledger, check it, carry it elsewhere, seal old parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from reckoner.cli._ledger import json_option, ledger_option, opened, print_json, print_table, progress


@click.group()
def command() -> None:
    """Look at the ledger, check it, export, import, seal.

    \b
    Example:
      reckoner ledger show --last 20
      reckoner ledger verify --anchor 128-0f3a9c21d4e5
      reckoner ledger export > ledger.jsonl
    """  # noqa: D301 - click reads the backspace as "keep these lines"


def segments_option(function: Any) -> Any:
    """Give a command ``--segments``."""
    return click.option(
        "--segments",
        type=click.Path(path_type=Path),
        help="Folder of sealed segments; beside the file by default.",
    )(function)


@command.command()
@click.argument("entry", required=False)
@click.option("--kind", type=click.Choice(["prediction", "observation", "decision", "tally", "seal", "import"]))
@click.option("--subject", help="Entries about one subject.")
@click.option("--last", type=click.IntRange(min=1), default=20, show_default=True, help="How many of the newest.")
@ledger_option
@json_option
def show(entry: str | None, kind: str | None, subject: str | None, last: int, url: str, as_json: bool) -> None:
    """Show the newest entries, or one ENTRY in full."""
    from reckoner.report.forecast_text import ENTRY_COLUMNS, entry_row

    with opened(url) as ledger:
        if entry is not None:
            print_json(ledger.find(entry).to_json())
            return
        kept = list(ledger.entries(kind=kind, subject=subject, newest=last))
        head, shown = ledger.head(), ledger.store.shown
    if as_json:
        print_json({"head": {"seq": head.seq, "hash": head.hash}, "entries": [one.to_json() for one in kept]})
        return
    print_table(ENTRY_COLUMNS, [entry_row(one) for one in kept], left=5)
    click.echo(f"{head.seq} entries in {shown}; head {head}", err=True)


@command.command()
@click.option("--anchor", help="An entry's id that you wrote down: NUMBER-HASH.")
@segments_option
@ledger_option
@json_option
def verify(anchor: str | None, segments: Path | None, url: str, as_json: bool) -> None:
    """Rehash the chain; exit 1 and name each fault."""
    from reckoner.errors import InputError
    from reckoner.ledger import Id
    from reckoner.ledger.verify import verify as check

    fixed = None
    if anchor is not None:
        number, _, digits = anchor.partition("-")
        if not number.isdigit() or len(digits) < 6:
            raise InputError(f"anchor is {anchor!r}; write NUMBER-HASH with at least six digits, such as 17-0f3a9c")
        fixed = Id(int(number), digits)
    with opened(url, segments=segments) as ledger:
        found = check(ledger, anchor=fixed)
    if as_json:
        print_json(found.to_json())
    else:
        for problem in found.problems:
            click.echo(problem)
        verdict = "every entry is as it was written" if found.ok else f"problems: {len(found.problems)}"
        click.echo(
            f"{found.checked} entries, {found.sealed} of them sealed; {verdict}; head {found.head}", err=not found.ok
        )
    if not found.ok:
        click.get_current_context().exit(1)


@command.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File; stdout by default.")
@segments_option
@ledger_option
def export(output: Path | None, segments: Path | None, url: str) -> None:
    """Write every entry as canonical JSONL."""
    from reckoner.files import write_atomic
    from reckoner.ledger.exchange import export_lines

    with opened(url, segments=segments) as ledger:
        if output is None:
            for line in export_lines(ledger):
                click.echo(line, nl=False)
            return
        write_atomic(output, "".join(export_lines(ledger)))
        click.echo(f"wrote {len(ledger)} entries to {output}; head {ledger.head()}", err=True)


@command.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@ledger_option
@json_option
def import_file(file: Path, url: str, as_json: bool) -> None:
    """Read an export, or a file of the seed's world.

    FILE is a JSONL export of a ledger, ~/.mlsys/ledger.json, or ~/.nexus/calibrator_state.json.
    """
    from reckoner.ledger.exchange import import_lines, import_seed_calibrator, import_seed_ledger

    kind = _kind(file)
    with opened(url, create=True) as ledger:
        if kind == "ledger":
            added = len(import_seed_ledger(ledger, file))
        elif kind == "calibrator":
            import_seed_calibrator(ledger, file)
            added = 1
        else:
            added = import_lines(ledger, file)
        head = ledger.head()
    if as_json:
        print_json({"added": added, "head": str(head)})
    else:
        click.echo(f"{added} entries added; head {head}")


@command.command()
@click.option("--before", help="Seal what is older than this UTC time, such as 2026-10 or 2026-10-01T12.")
@click.option("--upto", type=int, help="Seal up to this entry.")
@segments_option
@ledger_option
@json_option
def seal(before: str | None, upto: int | None, segments: Path | None, url: str, as_json: bool) -> None:
    """Move old entries into Parquet segments.

    Scores and statistics by model and hour stay in the ledger; the chain goes through the segments.
    """
    from reckoner.errors import InputError
    from reckoner.ledger.segments import seal as seal_entries

    if before is None and upto is None:
        raise InputError("nothing says how far to seal; give --before TIME or --upto ENTRY")
    with opened(url, segments=segments) as ledger, progress("sealing", None):
        made = seal_entries(ledger, before=before, upto=upto)
        folder = ledger.segments
    if as_json:
        print_json([{part: getattr(one, part) for part in one.__slots__} for one in made])
        return
    for one in made:
        click.echo(f"{folder / one.file}  entries {one.first} to {one.last}")
    if not made:
        click.echo("nothing to seal", err=True)


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def recover(file: Path, as_json: bool) -> None:
    """Move a damaged ledger file aside and keep every whole entry."""
    from reckoner.ledger.recover import recover as repair

    found = repair(file)
    if as_json:
        print_json(found.to_json())
        return
    click.echo(f"{found.kept} entries kept in {file}; the damaged file is {found.quarantined}")
    if found.rest is not None:
        click.echo(f"{found.beyond} whole entries beyond the first break are in {found.rest}", err=True)


def _kind(file: Path) -> str:
    """What a file is, by its first document."""
    from reckoner.errors import InputError

    try:
        content = json.loads(file.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}; check the path") from error
    except json.JSONDecodeError:
        return "export"
    if isinstance(content, dict) and "history" in content:
        return "ledger"
    if isinstance(content, dict) and "models" in content:
        return "calibrator"
    return "export"
