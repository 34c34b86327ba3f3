"""Comma-separated values on stdout, for the verbs that print tables."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import click

from reckoner.errors import InputError

csv_option = click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")


def one_format(*, as_json: bool, as_csv: bool) -> None:
    """Refuse two formats at once.

    Raises
    ------
    InputError
        Both were asked for.
    """
    if as_json and as_csv:
        raise InputError("--json and --csv were both given; stdout holds one document, so choose one")


def print_csv(records: Iterable[Mapping[str, Any]]) -> None:
    """Print one line a record under a header of the columns that any record has, in the order of their appearance."""
    rows = list(records)
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(names)
    out.writerows(["" if row.get(name) is None else row[name] for name in names] for row in rows)
