"""A file -> its runs: which tool wrote it is seen from its content."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from reckoner.errors import DamagedError, InputError, MissingExtraError, UnknownNameError
from reckoner.files import sha256
from reckoner.measure import keep
from reckoner.measure.importers import (
    aiperf,
    bench_serve,
    guidellm,
    inference_perf,
    llama_bench,
    llmd,
    llmperf,
    normalised,
    optimum,
)
from reckoner.measure.importers.fields import FieldError, Node
from reckoner.measure.importers.imported import Imported
from reckoner.measure.importers.saved import saved


class Form(NamedTuple):
    """One form of one tool's files."""

    tool: str
    seen_by: str
    fits: Callable[[Node], bool]
    read: Callable[[Sequence[Node]], list[Imported]]


FORMS = (
    Form("reckoner", "form and runs", normalised.is_normalised, normalised.read_normalised),
    Form("vllm-rs-bench", "ttfts, max_model_len", bench_serve.is_vllm_rs, bench_serve.read_vllm_rs),
    Form("sglang-bench", "ttfts, server_info", bench_serve.is_sglang, bench_serve.read_sglang),
    Form("vllm-bench", "mean_ttft_ms, model_id", bench_serve.is_vllm, bench_serve.read_vllm),
    Form("inferencex", "median_ttft without a unit", bench_serve.is_inferencex, bench_serve.read_inferencex),
    Form("guidellm", "benchmarks, metadata", guidellm.is_guidellm, guidellm.read_guidellm),
    Form("aiperf", "request_latency with a unit", aiperf.is_summary, aiperf.read_summary),
    Form("aiperf", "metadata, metrics", aiperf.is_records, aiperf.read_records),
    Form("inference-perf", "load_summary, successes", inference_perf.is_lifecycle, inference_perf.read_lifecycle),
    Form("inference-perf", "start_time, end_time, info", inference_perf.is_requests, inference_perf.read_requests),
    Form("llmperf", "number_output_tokens", llmperf.is_responses, llmperf.read_responses),
    Form("llmperf", "results_ttft_s_mean", llmperf.is_summary, llmperf.read_summary),
    Form("llama-bench", "n_prompt, n_gen, avg_ns", llama_bench.is_llama_bench, llama_bench.read_llama_bench),
    Form("optimum-benchmark", "prefill, load_model", optimum.is_optimum, optimum.read_optimum),
    Form("llm-d-benchmark", "version, run, results", llmd.is_report, llmd.read_report),
)
"""Tried in this order; the first that fits is taken."""
TOOLS = tuple(dict.fromkeys(form.tool for form in FORMS))
_ALIASES = {
    "vllm": "vllm-bench",
    "vllm-rs": "vllm-rs-bench",
    "sglang": "sglang-bench",
    "genai-perf": "aiperf",
    "optimum": "optimum-benchmark",
    "llm-d": "llm-d-benchmark",
    "llamabench": "llama-bench",
}


def read_results(path: str | Path, *, tool: str | None = None) -> tuple[Imported, ...]:
    """Read a tool's result file.

    Parameters
    ----------
    path : str or Path
        JSON, JSON lines or YAML; Parquet where it is our own; the folder of a run that ``reckoner measure`` saved.
    tool : str, optional
        One of :data:`TOOLS`; seen from the content by default.

    Returns
    -------
    tuple of Imported
        Its runs, at least one, in the file's order.

    Raises
    ------
    UnknownNameError
        There is no such tool.
    InputError
        The file is empty, of no known tool, of another tool than named, or a field cannot be meant; the message gives
        the field's path.
    DamagedError
        The file is cut off or is no JSON; the message gives line and column.
    """
    source = Path(path)
    if tool is not None:
        tool = _ALIASES.get(tool, tool)
        if tool not in TOOLS:
            raise UnknownNameError.of("tool", tool, (*TOOLS, *_ALIASES))
    if source.is_dir() or source.name == keep.RECORDS:
        return (saved(source if source.is_dir() else source.parent),)
    documents, digest = _documents(source)
    if not documents:
        raise InputError(f"{source} is empty; give a result file with at least one run")
    try:
        runs = read_documents(documents, tool=tool)
    except FieldError as error:
        raise InputError(f"{source}: {error}") from error
    if not runs:
        raise InputError(f"{source} holds no run; the tool wrote an empty result")
    return tuple(one if one.source else replace(one, source=source.name, digest=digest) for one in runs)


def read_documents(documents: Sequence[Any], *, tool: str | None = None) -> list[Imported]:
    """Runs of parsed documents.

    Raises
    ------
    FieldError
        They are of no known form, or a field cannot be meant.
    """
    nodes = [Node(one, "$" if len(documents) == 1 else f"$[{index}]") for index, one in enumerate(documents)]
    form = _form(nodes[0], tool)
    for node in nodes[1:]:
        if not form.fits(node):
            raise FieldError(f"{node.path} is no {form.tool} result, but {nodes[0].path} is; give one file a tool")
    return form.read(nodes)


def recognise(document: Any) -> Form | None:
    """Form of a parsed document; None when it is none that is known here."""
    return next((form for form in FORMS if form.fits(Node(document))), None)


def _form(node: Node, tool: str | None) -> Form:
    found = recognise(node.value)
    if tool is not None:
        fitting = [form for form in FORMS if form.tool == tool and form.fits(node)]
        if fitting:
            return fitting[0]
        wanted = " or ".join(form.seen_by for form in FORMS if form.tool == tool)
        looks = f"it looks like {found.tool} ({found.seen_by})" if found else f"it begins with {_keys(node.value)}"
        raise FieldError(f"{node.path} is no {tool} result: {wanted} is expected, {looks}")
    if found is not None:
        return found
    if aiperf.is_server_metrics(node):
        raise FieldError(f"{node.path} holds what AIPerf scraped from the server; give profile_export_aiperf.json")
    raise FieldError(
        f"{node.path} is of no known tool (it begins with {_keys(node.value)}); known are {', '.join(TOOLS)}: "
        "name one with --tool if it is of another version"
    )


def _keys(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(str(key) for key in list(value)[:6]) or "an empty object"
    return f"a {type(value).__name__}"


def _documents(source: Path) -> tuple[list[Any], str]:
    """Parsed documents of a file and its digest."""
    try:
        content = source.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"no file {source}; check the path") from error
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror or error}") from error
    digest = sha256(content)
    if content[:4] == b"PAR1":
        return [normalised.read_parquet(source)], digest
    try:
        told = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DamagedError(f"{source}: {error}; the file is no text") from error
    if not told.strip():
        return [], digest
    if source.suffix == ".csv":
        raise InputError(
            f"{source} is a table of statistics; give the .json or .jsonl that the same run wrote beside it"
        )
    if source.suffix in (".yaml", ".yml"):
        return _yaml(source, told), digest
    return parse(told, str(source)), digest


def parse(told: str, source: str) -> list[Any]:
    """JSON documents of a text: one, a list, or one a line.

    Raises
    ------
    DamagedError
        It is cut off or is no JSON; the message gives line and column.
    """
    lines = [(number, line) for number, line in enumerate(told.splitlines(), 1) if line.strip()]
    try:
        whole = json.loads(told)
    except json.JSONDecodeError as error:
        if len(lines) == 1 or not _is_json(lines[0][1]):
            raise _damaged(source, error.lineno, error) from error
        return list(_lines(lines, source))
    except RecursionError as error:
        raise DamagedError(f"{source} is nested too deeply; the file is damaged") from error
    return whole if isinstance(whole, list) else [whole]


def _lines(lines: Iterable[tuple[int, str]], source: str) -> Iterable[Any]:
    for number, line in lines:
        try:
            yield json.loads(line)
        except json.JSONDecodeError as error:
            raise _damaged(source, number, error) from error


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except json.JSONDecodeError:
        return False
    return True


def _damaged(source: str, line: int, error: json.JSONDecodeError) -> DamagedError:
    return DamagedError(f"{source}, line {line}, column {error.colno}: {error.msg}; the file is cut off or is no JSON")


def _yaml(source: Path, told: str) -> list[Any]:
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError.of("pyyaml", "measure") from error
    try:
        return [one for one in yaml.safe_load_all(told) if one is not None]
    except (yaml.YAMLError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise DamagedError(f"{source}: {said}; the file is cut off or is no YAML") from error
