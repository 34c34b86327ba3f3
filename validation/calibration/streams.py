"""Real requests, stream by stream, in order of launch."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent


class Request(NamedTuple):
    """One request; ``finish_s`` is None where the source has no stamps."""

    launch_s: float | None
    finish_s: float | None
    prompt_tokens: int
    completion_tokens: int
    e2e_ms: float


class Stream(NamedTuple):
    """Requests of one deployment."""

    source: str
    name: str
    model: str
    requests: tuple[Request, ...]


def read_streams(path: Path = HERE / "data" / "requests.csv.gz") -> tuple[Stream, ...]:
    """Read all streams, in the order of the file."""
    heads: dict[tuple[str, str], str] = {}
    rows: dict[tuple[str, str], list[Request]] = {}
    for row in csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode())):
        key = row["source"], row["stream"]
        heads.setdefault(key, row["model"])
        rows.setdefault(key, []).append(
            Request(
                float(row["launch_s"]) if row["launch_s"] else None,
                float(row["finish_s"]) if row["finish_s"] else None,
                int(row["prompt_tokens"]),
                int(row["completion_tokens"]),
                float(row["e2e_ms"]),
            )
        )
    return tuple(Stream(*key, heads[key], tuple(requests)) for key, requests in rows.items())
