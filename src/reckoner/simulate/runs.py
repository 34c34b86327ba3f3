"""Runs of real engines, recorded request by request: read, made designs of, and simulated beside what was measured."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reckoner.catalogue import find
from reckoner.design import Design, Serving
from reckoner.errors import InputError
from reckoner.simulate.arrivals import Arrivals
from reckoner.simulate.fitting import Observed
from reckoner.simulate.schedulers import Continuous
from reckoner.simulate.traces import read_table

SEATS, SMALL_CARD_SEATS, BUDGET = 128, 256, 2048
"""Sequences and tokens of a step with which LLMServingSim launched vLLM (bench/bench.sh; bench/bench-rtx4090.sh for the
card of 24 GB; github.com/casys-kaist/LLMServingSim, read 2026-11-21). Assumed of runs that state nothing else."""

_SMALL_BYTES = 32e9  # memory of a small card. Assumption.
_TIMES = {"ttft": ("ttft_s", "ttft_ms"), "tpot": ("tpot_s", "tpot_ms"), "e2e": ("e2e_s", "latency_ms")}
_COUNTS = {
    "prompt": ("prompt_tokens", "input_toks", "input_tokens"),
    "output": ("output_tokens", "output_toks"),
}
_OPTIONS = {"max_seqs": ("max_seqs", "max_num_seqs"), "budget": ("token_budget", "max_num_batched_tokens")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One recorded run.

    Parameters
    ----------
    name : str
        As recorded: device, model and parallelism, with bars between them.
    design : Design
        What ran.
    scheduler : Continuous
        How it was launched.
    arrivals : Arrivals
        Requests in the order of their arrival.
    observed : Observed
        What was measured of each.
    kv_tokens : int or None
        Tokens of the cache, where the record states them.
    """

    name: str
    design: Design
    scheduler: Continuous
    arrivals: Arrivals
    observed: Observed
    kv_tokens: int | None


def read_runs(path: str | Path) -> list[Run]:
    """Read the runs of a file of requests, in the order in which they first appear.

    Parameters
    ----------
    path : path
        ``.csv``, ``.jsonl`` or ``.parquet`` with the columns ``run``, ``arrival_s``, lengths and times of
        ``validation/simulation/vllm_requests.csv``, or LLMServingSim's own (``input_toks``, ``ttft_ms``, ...).
        Optional: ``max_num_seqs``, ``max_num_batched_tokens``, ``kv_tokens``.

    Raises
    ------
    InputError
        A column is missing or a value is not a number; a run's name holds no device and model.
    UnknownNameError
        No such device or model.
    """
    file = Path(path)
    table = read_table(file)
    if "run" not in table or "arrival_s" not in table:
        raise InputError(
            f"{file.name} has no columns run and arrival_s; it has {', '.join(sorted(table)) or 'nothing'}"
        )
    names = np.array([str(name) for name in table["run"]])
    runs = []
    for name in dict.fromkeys(names.tolist()):
        rows = np.flatnonzero(names == name)
        arrival = _numbers(file, table, ("arrival_s",), rows)
        order = np.argsort(arrival, kind="stable")
        rows = rows[order]
        runs.append(_run(file, table, str(name), rows))
    return runs


def _run(file: Path, table: dict[str, Any], name: str, rows: Any) -> Run:
    design = design_of(name)
    times = {}
    for metric, columns in _TIMES.items():
        values = _numbers(file, table, columns, rows)
        times[f"{metric}_s"] = values if columns[0] in table else values / 1e3
    arrival = _numbers(file, table, ("arrival_s",), rows)
    arrivals = Arrivals(
        arrival_s=arrival - arrival[0],
        prompt_tokens=_numbers(file, table, _COUNTS["prompt"], rows),
        output_tokens=_numbers(file, table, _COUNTS["output"], rows),
        name=name,
    )
    small = design.device.memory_bytes <= _SMALL_BYTES
    seats = _option(file, table, _OPTIONS["max_seqs"], rows, SMALL_CARD_SEATS if small else SEATS)
    budget = _option(file, table, _OPTIONS["budget"], rows, BUDGET)
    kv_tokens = _option(file, table, ("kv_tokens",), rows, 0)
    return Run(
        name=name,
        design=design,
        scheduler=Continuous(max_seqs=seats, token_budget=max(budget, seats)),
        arrivals=arrivals,
        observed=Observed(**times),
        kv_tokens=kv_tokens or None,
    )


def design_of(name: str) -> Design:
    """Design that a run's name describes: ``DEVICE|MODEL|tp2|fp8``, parts beyond the model in any order.

    >>> design_of("RTX-4090-24GB|meta-llama/Llama-3.1-8B|tp1").model.name
    'llama-3.1-8b'

    Raises
    ------
    InputError
        Fewer than two parts.
    """
    parts = [part.strip() for part in re.split(r"[|;]", name) if part.strip()]
    if len(parts) < 2:
        raise InputError(f"run {name!r} names no device and model; write DEVICE|MODEL|tp1")
    options: dict[str, Any] = {}
    for word in re.split(r"[\s,_+-]+", " ".join(parts[2:]).lower()):
        ranks = re.fullmatch(r"(tp|ep|pp|dp)=?(\d+)", word)
        if ranks:
            options["replicas" if ranks[1] == "dp" else ranks[1]] = float(ranks[2])
        elif word in ("bf16", "fp16", "fp8", "int8", "int4", "fp4", "nvfp4", "mxfp4", "awq", "gptq"):
            options["weights"] = word
    tp = options.get("tp", 1.0)
    if options.get("ep", 1.0) > tp:  # experts shared by more ranks than a layer: those ranks share the layer here
        options["tp"] = options["ep"]
        options.pop("replicas", None)
    return Design(model=find.model(parts[1]), device=find.device(parts[0]), serving=Serving(engine="vllm", **options))


def _numbers(file: Path, table: dict[str, Any], columns: Sequence[str], rows: Any) -> Any:
    column = next((name for name in columns if name in table), None)
    if column is None:
        raise InputError(f"{file.name} has no column {' or '.join(columns)}; it has {', '.join(sorted(table))}")
    values = table[column]
    try:
        found = np.array([float(values[int(row)]) for row in rows])
    except (TypeError, ValueError) as error:
        raise InputError(f"{file.name}: column {column}: {error}; give numbers") from error
    bad = ~(np.isfinite(found) & (found >= 0.0))
    if bad.any():
        row = int(rows[int(np.argmax(bad))])
        raise InputError(f"{file.name}: {column} of row {row + 1} is {values[row]}; give a number, not below zero")
    return found


def _option(file: Path, table: dict[str, Any], columns: Sequence[str], rows: Any, otherwise: int) -> int:
    if not any(name in table for name in columns):
        return otherwise
    first = _numbers(file, table, columns, rows[:1])[0]
    return int(first) if first > 0 else otherwise
