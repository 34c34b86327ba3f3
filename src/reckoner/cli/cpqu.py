"""``reckoner cpqu``: the price table, derived from frozen inputs."""

from __future__ import annotations

from pathlib import Path

import click

from reckoner.files import canonical_json


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--costs", type=click.Path(path_type=Path), help="Where COSTS.md stands (default: FOLDER/COSTS.md).")
@click.option("--check", is_flag=True, help="Write nothing; exit 1 when a derived file is missing or differs.")
@click.option("--json", "as_json", is_flag=True, help="Print cpqu.json and the files as one JSON document.")
def command(folder: Path, costs: Path | None, check: bool, as_json: bool) -> int:
    """Derive the price table from frozen inputs.

    Reads FOLDER/cost_inputs.json; writes cpqu.json and manifest.json beside it, and COSTS.md. The same inputs give the
    same bytes on every machine; nothing is measured here.

    \b
        $ reckoner cpqu experiments/finops --costs docs/COSTS.md
        v0.1.0  a1b2c3d4  accuracy 0.758  CpQU 1.30822e-05
        v0.2.0  e5f6a7b8  accuracy 0.742  CpQU 5.67472e-06
        v0.3.0  c9d0e1f2  accuracy 0.883  CpQU 1.31027e-05
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    from reckoner.finops.cost import NOT_READY
    from reckoner.finops.inputs import load_inputs
    from reckoner.finops.table import derive
    from reckoner.report.costs import INPUTS, stale_files, write_costs

    target = costs or folder / "COSTS.md"
    stale = stale_files(folder, target)
    table = derive(load_inputs(folder / INPUTS))
    if not check:
        write_costs(folder, target)
    if as_json:
        told = {"check": check, "stale": sorted(map(str, stale)), "cpqu": table.cpqu_json()}
        click.echo(canonical_json(told), nl=False)
    else:
        for row in table.rows:
            unit = NOT_READY if row.cpqu is None else f"{row.cpqu:g}"
            click.echo(f"{row.model.semver}  {row.model.short}  accuracy {row.accuracy.value:.3f}  CpQU {unit}")
    if not check:
        click.echo(f"reckoner: {f'{len(stale)} files written anew' if stale else 'nothing changed'}", err=True)
        return 0
    for path in stale:
        click.echo(f"reckoner: {path} is not what the frozen inputs give; run reckoner cpqu without --check", err=True)
    return 1 if stale else 0
