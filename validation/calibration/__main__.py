"""Replay all streams; write results.json, table.md and docs/forecasts.md."""

from __future__ import annotations

import math
import random
import statistics
import sys
from importlib.util import find_spec
from typing import Any

from validation.calibration.page import SOURCES, page, table
from validation.calibration.replay import mean_of, replay, summary
from validation.calibration.rivals import RIVALS, Ours, Seed
from validation.calibration.streams import HERE, Request, Stream, read_streams
from validation.calibration.transfer import transfer

from reckoner.files import write_atomic, write_json


def study(keys: list[str]) -> dict[str, Any]:
    """Score the forecasters on every stream."""
    by_stream: dict[str, dict[str, Any]] = {}
    everything = read_streams()
    for stream in everything:
        rows = {}
        for key in keys:
            rows[key] = summary(replay(stream, RIVALS[key][1](stream.model)))
            print(f"{stream.source}/{stream.name}: {key} {rows[key]['mape']:.3f}", file=sys.stderr)
        by_stream[f"{stream.source}/{stream.name}"] = rows
    sources = {
        source: {
            key: mean_of(by_stream[f"{s.source}/{s.name}"][key] for s in everything if s.source == source)
            for key in keys
        }
        for source in SOURCES
    }
    return {"sources": sources, "streams": by_stream, "changes": changes()}


def made_up(n: int, seed: int, *, double_at: int | None = None, outliers: float = 0.0) -> Stream:
    """Requests of a known law: 400 ms + 0.12 ms per prompt token + 14 ms per completion token, 4 % noise."""
    rng, requests = random.Random(seed), []
    for i in range(n):
        prompt, completion = int(math.exp(rng.uniform(3, 9))), int(math.exp(rng.uniform(2, 7)))
        actual = (400 + 0.12 * prompt + 14 * completion) * math.exp(rng.gauss(0, 0.04))
        actual *= 2.0 if double_at is not None and i >= double_at else 1.0
        requests.append(Request(None, None, prompt, completion, actual * (20.0 if rng.random() < outliers else 1.0)))
    return Stream("made up", str(seed), "local:8b", tuple(requests))


def changes() -> dict[str, Any]:
    """A doubling, and outliers, for ours and for version 1."""
    out: dict[str, Any] = {"recovered": {}, "clean": {}, "outliers": {}}
    noticed = []
    for key, kind in (("ours", Ours), ("seed", Seed)):
        recovered, clean, hurt = [], [], []
        for seed in range(4):
            rival = kind("local:8b")
            errors = [s.error for s in replay(made_up(500, seed, double_at=200), rival)][200:]
            back = (i for i in range(len(errors) - 10) if statistics.fmean(errors[i : i + 10]) < 0.1)
            recovered.append(next(back, None))
            if isinstance(rival, Ours):
                noticed.append(min(d.sample_count - 200 for d in rival.calibrator.drifts("local:8b") if d.ratio > 1.3))
            clean.append(statistics.fmean(s.error for s in replay(made_up(1000, seed), kind("local:8b"))[50:]))
            stream = made_up(1000, seed, outliers=0.05)
            usual = [
                s.error
                for s, r in zip(replay(stream, kind("local:8b")), stream.requests, strict=True)
                if r.e2e_ms < 6 * (400 + 0.12 * r.prompt_tokens + 14 * r.completion_tokens)
            ]
            hurt.append(statistics.fmean(usual[50:]))
        never = [r for r in recovered if r is None]
        out["recovered"][key] = "never within 300" if never else round(statistics.fmean(r or 0 for r in recovered))
        out["clean"][key] = round(statistics.fmean(clean), 4)
        out["outliers"][key] = round(statistics.fmean(hurt), 4)
    out["noticed"] = round(statistics.fmean(noticed))
    return out


def main() -> None:
    """Write the results."""
    keys = [key for key, (_, _, library) in RIVALS.items() if library is None or find_spec(library) is not None]
    results = study(keys)
    results["titles"] = {"sources": SOURCES, "forecasters": {key: name for key, (name, _, _) in RIVALS.items()}}
    results["transfer"], words = transfer()
    write_json(HERE / "results.json", results)
    write_atomic(HERE / "table.md", table(results) + "\n")
    write_atomic(HERE.parent.parent / "docs" / "forecasts.md", page(results, words))
    print(table(results))


if __name__ == "__main__":
    main()
