"""The section of ``docs/validation.md`` on request forecasts, from the replay study's numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_FIGURES = ("mape", "median", "first_five", "coverage")


def requests_of(folder: str | Path) -> dict[str, Any] | None:
    """Read the study's figures of a ``validation`` folder; None where it holds none.

    Raises
    ------
    DamagedError
        The file is not what ``python -m validation.calibration`` writes.
    """
    from reckoner.errors import DamagedError
    from reckoner.files import read_json

    path = Path(folder) / "calibration" / "results.json"
    if not path.exists():
        return None
    found = read_json(path)
    try:
        return {part: found[part] for part in ("titles", "sources", "transfer")}
    except (KeyError, TypeError) as error:
        raise DamagedError(f"{path} lacks {error}; run python -m validation.calibration") from error


def requests_section(study: Mapping[str, Any]) -> str:
    """Markdown of the forecasts of single requests, and of what one model teaches about another."""
    lines = [
        "## Requests, forecast one by one\n",
        "Streams of real requests replayed in order: each is forecast at launch and learned once it has ended "
        "(`python -m validation.calibration`; docs/forecasts.md). Mean over streams, in per cent; *holds* is the share "
        "of requests inside their 90 % interval.\n",
        "| requests | forecaster | mean error | median error | first five | holds | width |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for source, rows in study["sources"].items():
        for key, name in study["titles"]["forecasters"].items():
            row = rows.get(key)
            if row is not None:
                cells = [f"{100 * row[f]:.1f}" if row[f] is not None else "" for f in _FIGURES]
                width = f"x {row['width']:.2f}" if row["width"] is not None else ""
                lines.append(f"| {study['titles']['sources'][source]} | {name} | {' | '.join(cells)} | {width} |")
    ways = ("assumed", "prior", "one", "others", "own")
    lines += [
        "",
        "What deployments teach about another model on the same device and engine: median error in per cent, by what "
        "was learned before. The prior had not seen the model.\n",
        "| quantity | devices x engines | assumed | learned prior | one other model | all others | own rows |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for kind, row in study["transfer"].items():
        cells = [f"{100 * row[way]:.0f}" if way in row else "" for way in ways]
        lines.append(f"| `{kind}` | {row['cells']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
