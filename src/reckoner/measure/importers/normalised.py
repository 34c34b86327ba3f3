"""Our own form on disk: what ``reckoner import --out`` writes, as JSON or Parquet, read back without loss."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from reckoner.errors import DamagedError, MissingExtraError
from reckoner.files import canonical_json, parse_json, write_atomic
from reckoner.measure.importers.fields import FieldError, Node, count, number, text
from reckoner.measure.importers.imported import Imported, Load, Request, Statistic

FORM = "reckoner-import-1"
_COLUMNS = tuple(one.name for one in fields(Request))


def write(path: str | Path, runs: Sequence[Imported]) -> Path:
    """Write runs to ``path``: Parquet when it ends so (a row a request), JSON otherwise; whole or not at all.

    Raises
    ------
    MissingExtraError
        Parquet was asked for without pyarrow.
    """
    if Path(path).suffix != ".parquet":
        return write_atomic(path, canonical_json({"form": FORM, "runs": [one.to_json() for one in runs]}))
    pa, pq = _arrow()
    types = {"id": pa.string(), "error": pa.string(), "itl_s": pa.list_(pa.float64())}
    types |= {"prompt_tokens": pa.int64(), "output_tokens": pa.int64()}
    rows = [(index, one) for index, run in enumerate(runs) for one in run.requests]
    columns = {"run": pa.array([index for index, _ in rows], pa.int32())}
    for name in _COLUMNS:
        columns[name] = pa.array([getattr(one, name) for _, one in rows], types.get(name, pa.float64()))
    told = canonical_json({"form": FORM, "runs": [one.to_json(requests=False) for one in runs]})
    held = io.BytesIO()
    pq.write_table(pa.table(columns).replace_schema_metadata({"reckoner": told}), held)
    return write_atomic(path, held.getvalue())


def read_parquet(path: Path) -> dict[str, Any]:
    """The JSON form of a Parquet file.

    Raises
    ------
    DamagedError
        It is cut off or was not written by :func:`write`.
    """
    pa, pq = _arrow()
    try:
        table = pq.read_table(path)
        told: dict[str, Any] = parse_json((table.schema.metadata or {})[b"reckoner"].decode())
        rows = table.to_pylist()
        for row in rows:
            told["runs"][row.pop("run")]["requests"].append(
                {key: value for key, value in row.items() if value is not None}
            )
    except (pa.ArrowException, OSError, KeyError, IndexError, ValueError, json.JSONDecodeError) as error:
        raise DamagedError(f"{path} is cut off or was not written by reckoner import ({error})") from error
    return told


def is_normalised(told: Node) -> bool:
    """Our own form."""
    return told.has("form", "runs") and told["form"].value == FORM


def read_normalised(documents: Sequence[Node]) -> list[Imported]:
    """Runs as they were."""
    return [_run(one) for told in documents for one in told["runs"].items()]


def load_of(told: Node) -> Load:
    """What was asked, as :meth:`Imported.to_json` and a saved run write it."""
    rate = told.get("requests_per_s")
    return Load(
        requests_per_s=math.inf if rate is not None and rate.value == "inf" else number(rate),
        concurrency=count(told.get("concurrency")),
        requests=count(told.get("requests")),
    )


def _run(told: Node) -> Imported:
    return Imported(
        tool=told["tool"].text(),
        source=text(told.get("source")) or "",
        digest=text(told.get("digest")) or "",
        run=text(told.get("run")) or "",
        version=text(told.get("version")),
        model=text(told.get("model")),
        device=text(told.get("device")),
        engine=text(told.get("engine")),
        load=load_of(told["load"]),
        requests=tuple(_request(one) for one in told["requests"].items()),
        statistics={name: _statistic(one) for name, one in told["statistics"].fields()},
        rates={name: one.number() for name, one in told["rates"].fields()},
        duration_s=number(told.get("duration_s")),
        completed=count(told.get("completed")),
        failed=count(told.get("failed")),
        began_at=number(told.get("began_at")),
    )


def _request(told: Node) -> Request:
    for name, one in told.fields():
        if name not in _COLUMNS:
            raise FieldError(f"{one.path} is no field of a request; known are {', '.join(_COLUMNS)}")
    gaps = told.get("itl_s")
    return Request(
        id=text(told.get("id")),
        prompt_tokens=count(told.get("prompt_tokens")),
        output_tokens=count(told.get("output_tokens")),
        start_s=number(told.get("start_s")),
        ttft_s=number(told.get("ttft_s")),
        e2e_s=number(told.get("e2e_s")),
        tpot_s=number(told.get("tpot_s")),
        itl_s=None if gaps is None else gaps.numbers(),
        error=None if told.get("error") is None else told["error"].text(),
    )


def _statistic(told: Node) -> Statistic:
    pairs = [one.numbers() for one in told["percentiles"].items()]
    return Statistic(
        stated_as=told["stated_as"].text(),
        n=count(told.get("n")),
        **{name: number(told.get(name)) for name in ("mean", "std", "least", "most")},
        percentiles=tuple((q, value) for q, value in pairs),
        weighted=told["weighted"].value is True,
    )


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError.of("pyarrow", "ledger") from error
    return pa, pq
