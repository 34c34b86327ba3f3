"""Our own measured runs, by the folder that ``reckoner measure`` saved them in."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reckoner.errors import DamagedError
from reckoner.files import parse_json, sha256_file
from reckoner.measure import keep
from reckoner.measure.events import RequestRecord
from reckoner.measure.importers.fields import Node, text
from reckoner.measure.importers.imported import Imported, Load, Request
from reckoner.measure.importers.normalised import load_of
from reckoner.measure.metrics import counted


def saved(folder: Path) -> Imported:
    """Read the records of a run and what was asked of it; requests without a whole answer count as failed.

    Raises
    ------
    InputError
        There are none.
    DamagedError
        A file cannot be read whole.
    """
    records = sorted(keep.read_records(folder), key=lambda one: one.index)
    sent = [one for one in records if one.sent_s is not None]
    requests = tuple(_request(one) for one in sent)
    ends = [one.closed_s for one in sent if one.closed_s is not None]
    starts = [one.sent_s for one in sent if one.sent_s is not None]
    facts = _facts(folder / keep.FACTS)
    load = facts.get("load")
    return Imported(
        tool="reckoner",
        source=folder.name,
        digest=sha256_file(folder / keep.RECORDS),
        run="records",
        model=text(facts.get("model")),
        load=Load() if load is None else load_of(load),
        requests=requests,
        duration_s=max(ends) - min(starts) if ends else None,
        completed=sum(one.error is None for one in requests),
        failed=sum(one.error is not None for one in requests),
    )


def _facts(path: Path) -> Node:
    """What was asked; nothing where a run was killed before it was written."""
    if not path.exists():
        return Node({}, path.name)
    try:
        return Node(parse_json(path.read_text(encoding="utf-8")), path.name)
    except (OSError, ValueError) as error:
        raise DamagedError(f"{path} cannot be read: {error}; restore it or delete it") from error


def _request(record: RequestRecord) -> Request:
    stamps, sent = record.token_stamp_s, record.sent_s or 0.0
    whole = record.whole and len(stamps) > 0
    return Request(
        id=str(record.index),
        prompt_tokens=record.prompt_tokens if record.prompt_tokens is not None else record.asked_prompt_tokens or None,
        output_tokens=counted(record).n,
        start_s=sent,
        ttft_s=float(stamps[0]) - sent if whole else None,
        e2e_s=float(stamps[-1]) - sent if whole else None,
        itl_s=tuple(np.diff(stamps).tolist()) if whole else None,
        error=None if whole else (record.why or record.state if not record.whole else "no text"),
    )
