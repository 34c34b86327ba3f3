"""``reckoner audit``: a plan held against its promises, and the smallest change that keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reckoner.cli._design import console
from reckoner.errors import InputError

if TYPE_CHECKING:
    from reckoner.audit.advise import Advice
    from reckoner.audit.run import Audit

STYLES = {True: "green", False: "red", None: "yellow"}


@click.command()
@click.argument("plan", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--advise", "wants_advice", is_flag=True, help="Search for the smallest change that passes.")
@click.option("--example", is_flag=True, help="Print the brief of the Architect's Audit as a plan, and stop.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Write audit.md, .json and .html here.")
@click.option("--save", type=click.Path(dir_okay=False, path_type=Path), help="Write the advised plan here (TOML).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    plan: Path | None, wants_advice: bool, example: bool, out: Path | None, save: Path | None, as_json: bool
) -> int:
    """Hold a deployment over cloud, edge, mobile and TinyML against its SLO.

    Exit code 0 when every promise is kept, 1 when one fails or cannot be judged.

    \b
        $ reckoner audit --example > plan.toml
        $ reckoner audit plan.toml
        $ reckoner audit plan.toml --advise --save better.toml --out out/audit
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    from reckoner.audit.brief import brief
    from reckoner.audit.plan_file import plan_to_toml, read_plan, write_plan
    from reckoner.audit.run import audit
    from reckoner.files import canonical_json

    if example:
        click.echo(plan_to_toml(brief()), nl=False)
        return 0
    if plan is None:
        raise InputError("no plan is given; `reckoner audit --example > plan.toml` writes one to begin with")
    if save is not None and not wants_advice:
        raise InputError("--save writes the advised plan; add --advise")
    found = audit(read_plan(plan))
    advice = None
    if wants_advice:
        advice = _advised(found)
    if out is not None:
        _write(out, found, advice)
    if save is not None and advice is not None:
        if advice.best is None:
            click.echo(f"no design passes, so {save} was not written", err=True)
        else:
            click.echo(f"wrote {write_plan(save, advice.best.audit.plan)}", err=True)
    if as_json:
        document = found.to_dict()
        if advice is not None:
            document["advice"] = advice.to_dict()
        click.echo(canonical_json(document), nl=False)
    else:
        show(found, advice)
    return 0 if found.feasible else 1


def _advised(found: Audit) -> Advice:
    """Search with a line on stderr about what is being tried; silent where stderr is no terminal."""
    from rich.console import Console

    from reckoner.audit.advise import advise

    screen = Console(stderr=True)
    if not screen.is_terminal:
        return advise(found)
    with screen.status("searching designs") as status:
        return advise(found, report=status.update)


def show(found: Audit, advice: Advice | None) -> None:
    """Print verdicts, what is open, and the advice."""
    from rich import box
    from rich.table import Table

    from reckoner.report.audit import (
        TITLES,
        advice_sentence,
        figure_words,
        headline,
        interval_words,
        missing,
        option_lines,
        unsure,
        verdict_words,
    )

    screen = console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name, right in (("", False), ("tier", False), ("promise", False), ("limit", True), ("value", True)):
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    table.add_column("90% interval", justify="right")
    for v in found.verdicts:
        sign = ">= " if v.at_least else "<= "
        table.add_row(
            f"[{STYLES[v.holds]}]{verdict_words(v)}[/]", v.tier or "all", TITLES[v.name],
            sign + figure_words(v.limit, v.unit), figure_words(v.value, v.unit), interval_words(v),
        )  # fmt: skip
    screen.print(table)
    for v in (*found.failed, *found.unknown):
        screen.print(f"{verdict_words(v)}: {v.tier or 'all'}, {TITLES[v.name]} - {v.fix}", highlight=False)
    screen.print(f"{headline(found)}. {unsure(found)}".rstrip(), highlight=False)
    if advice is not None:
        screen.print(advice_sentence(advice), highlight=False)
        chosen = advice.best or advice.nearest
        for i, line in enumerate(option_lines(chosen) if chosen is not None else (), 1):
            screen.print(f"  {i}. {line}", highlight=False)
        for line in advice.because:
            screen.print(f"  because {line}", highlight=False)
        if len(advice.alternatives) > 1:
            screen.print(
                f"{len(advice.alternatives) - 1} other designs pass: --json or --out shows them", highlight=False
            )
    open_ends = [line for line in missing(found) if not line.startswith("slo.")]
    if open_ends:
        screen.print("left open: " + "; ".join(open_ends), highlight=False)


def _write(out: Path, found: Audit, advice: Advice | None) -> None:
    from reckoner import __version__
    from reckoner.files import canonical_json, write_atomic
    from reckoner.report.audit import audit_page, markdown

    document: dict[str, Any] = found.to_dict() | ({} if advice is None else {"advice": advice.to_dict()})
    for name, text in (
        ("audit.md", markdown(found, advice)),
        ("audit.json", canonical_json(document)),
        ("audit.html", audit_page(found, advice, manifest={"reckoner": __version__, "plan": document["plan"]})),
    ):
        click.echo(f"wrote {write_atomic(out / name, text)}", err=True)
