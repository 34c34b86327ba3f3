"""The clients that are held against the truth: how each is called, and where it says what it saw."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
_ASK = (
    "import importlib.util as u, sys; from pathlib import Path; s = u.find_spec({package!r}); "
    "sys.exit('absent') if s is None else print(*sorted(str(f) for d in s.submodule_search_locations "
    "for f in Path(d).glob({pattern!r})), sep='\\n')"
)
"""Files of an installed package, without importing it."""


@dataclass(frozen=True)
class At:
    """Where a client is to go, with how much: ``streams`` requests at once until all are answered."""

    url: str
    model: str
    streams: int
    requests: int
    tokens: int
    chat: bool
    folder: Path

    @property
    def path(self):
        return "/v1/chat/completions" if self.chat else "/v1/completions"


@dataclass(frozen=True)
class Said:
    """What a client says it saw, in ms; ``single`` holds its requests by index where it tells them apart."""

    answered: int
    ttft_mean: float
    ttft_p99: float
    itl_mean: float
    itl_p99: float
    by_request: bool = False  # whether its ITL is a mean by request, not a gap
    single: dict[int, tuple[float, Any]] = field(default_factory=dict)
    loop_cpu_s: float | None = None  # of the run alone, where the client says so
    coalesced: int | None = None  # tokens that came in one read with the one before


@dataclass(frozen=True)
class Client:
    """A client: its command, and what it said."""

    name: str
    command: Callable[[At], list[str]]
    read: Callable[[At, str], Said]
    slow: bool = False  # takes seconds to start


def clients(pythons):
    """Clients that are here, and why the others are not.

    Parameters
    ----------
    pythons : list of str
        Interpreters that may have aiohttp, SGLang or vLLM.
    """
    found, absent = [Client("reckoner", _loop(sys.executable, "ours.py"), _singles)], {}
    python = next((p for p in pythons if _files(p, "aiohttp", "client.py")), None)
    if python is None:
        absent["aiohttp loop"] = "no interpreter given with --python has aiohttp"
    else:
        found.append(Client("aiohttp loop", _loop(python, "aiohttp_loop.py"), _singles))
    rust = shutil.which("vllm-rs") or next((f for p in pythons for f in _files(p, "vllm", "vllm-rs")), None)
    if rust is None:
        absent["vllm bench (Rust)"] = "vllm-rs, which comes in vLLM's package, is not on PATH"
    else:
        found.append(Client("vllm bench (Rust)", lambda at: _vllm(rust, at), _vllm_said))
    places = [(p, f) for p in pythons for f in _files(p, "sglang", "srt/rust_extensions/_bench.*.so")]
    if not places:
        absent["SGLang (Rust)"] = "no interpreter given with --python has SGLang's package"
    else:
        found.append(Client("SGLang (Rust)", lambda at: _sglang(*places[0], at), _sglang_said))
    for name, program, command, read in (
        ("AIPerf", "aiperf", _aiperf, _aiperf_said),
        ("GuideLLM", "guidellm", _guidellm, _guidellm_said),
    ):
        if shutil.which(program) is None:
            absent[name] = f"{program} is not on PATH"
        else:
            found.append(Client(name, command, read, slow=True))
    return found, absent


def write_tokenizer(folder):
    """A tokenizer of 26 words and a file of prompts, for clients that do not start without."""
    words = [chr(97 + i) * 3 for i in range(26)]
    vocabulary = {"<unk>": 0} | {word: i + 1 for i, word in enumerate(words)}
    special = {"id": 0, "content": "<unk>", "single_word": False, "lstrip": False, "rstrip": False}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None,
        "decoder": None, "added_tokens": [special | {"normalized": False, "special": True}],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
    }  # fmt: skip
    _write(folder / "tokenizer.json", tokenizer)
    _write(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"})
    _write(folder / "config.json", {"model_type": "llama", "vocab_size": len(vocabulary)})
    lines = [json.dumps({"prompt": " ".join(words[i % 26 :][:3])}) for i in range(8192)]
    (folder / "prompts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def forget(folder):
    """Remove what an earlier run has written, so that it is never taken for another's."""
    for name in ("vllm.json", "sglang.jsonl", "guidellm.json"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "aiperf", ignore_errors=True)


def _write(path, value):
    path.write_text(json.dumps(value), encoding="utf-8")


def _files(python, package, pattern):
    code = _ASK.format(package=package, pattern=pattern)
    result = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return result.stdout.split("\n")[:-1] if result.returncode == 0 else []


def _loop(python, script):
    def command(at):
        numbers = [str(at.streams), str(at.requests), str(at.tokens)]
        return [python, str(HERE / script), at.url, at.model, *numbers, "chat" if at.chat else "completions"]

    return command


def _singles(_at, out):
    told = json.loads(out.splitlines()[-1])
    index = [i for i, _, _ in told["requests"]]
    ttft = 1e-6 * np.array([ttft_ns for _, ttft_ns, _ in told["requests"]])
    gaps = 1e-6 * np.array([gaps_ns for _, _, gaps_ns in told["requests"]])
    whole = gaps if gaps.size else np.zeros(1)  # answers of one token
    return Said(
        len(ttft), float(ttft.mean()), float(np.quantile(ttft, 0.99)), float(whole.mean()),
        float(np.quantile(whole, 0.99)), single=dict(zip(index, zip(ttft, gaps, strict=True), strict=True)),
        loop_cpu_s=told.get("loop_cpu_s"), coalesced=told.get("coalesced"),
    )  # fmt: skip


def _vllm(program, at):
    return [
        program, "bench", "serve", "--backend", "openai-chat" if at.chat else "openai", "--base-url", at.url,
        "--model", at.model, "--tokenizer", str(at.folder), "--dataset-name", "custom",
        "--dataset-path", str(at.folder / "prompts.jsonl"), "--custom-output-len", str(at.tokens),
        "--num-prompts", str(at.requests), "--max-concurrency", str(at.streams), "--disable-tqdm", "--save-result",
        "--result-dir", str(at.folder), "--result-filename", "vllm.json",
    ]  # fmt: skip


def _vllm_said(at, _out):
    found = _json(at.folder / "vllm.json")
    return _flat(found, found["completed"])


def _flat(found, answered):
    return Said(answered, *(found[f"{s}_{m}_ms"] for m in ("ttft", "itl") for s in ("mean", "p99")))


def _sglang(python, extension, at):
    return [
        python, str(HERE / "sglang_rust.py"), extension, "--backend", "vllm-chat" if at.chat else "vllm",
        "--base-url", at.url, "--model", at.model, "--tokenizer", str(at.folder), "--dataset-name", "random-ids",
        "--random-input-len", "4", "--random-range-ratio", "1", "--random-output-len", str(at.tokens),
        "--num-prompts", str(at.requests), "--max-concurrency", str(at.streams), "--warmup-requests", "0",
        "--disable-retokenize", "--disable-tqdm", "--output-file", str(at.folder / "sglang.jsonl"),
    ]  # fmt: skip


def _sglang_said(at, _out):
    found = json.loads((at.folder / "sglang.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    return _flat(found, found["completed"])


def _aiperf(at):
    return [
        "aiperf", "profile", "--model", "fake", "--extra-inputs", json.dumps({"model": at.model}),
        "--tokenizer", str(at.folder), "--url", at.url, "--endpoint-type", "chat" if at.chat else "completions",
        "--streaming", "--use-server-token-count", "--synthetic-input-tokens-mean", "4",
        "--output-tokens-mean", str(at.tokens), "--request-count", str(at.requests),
        "--concurrency", str(at.streams), "--ui", "none", "--artifact-dir", str(at.folder / "aiperf"),
        "--no-gpu-telemetry", "--no-server-metrics",
    ]  # fmt: skip


def _aiperf_said(at, _out):
    found = _json(at.folder / "aiperf" / "profile_export_aiperf.json")
    ttft, gap = found["time_to_first_token"], found.get("inter_chunk_latency", {"avg": 0.0, "p99": 0.0})
    return Said(int(found["request_count"]["avg"]), ttft["avg"], ttft["p99"], gap["avg"], gap["p99"])


def _guidellm(at):
    spec = {
        "backend": {
            "kind": "openai_http", "target": at.url, "model": at.model, "request_format": at.path,
            "validate_backend": False,
        },
        "profile": {"kind": "concurrent", "streams": [at.streams]},
        "constraints": [{"kind": "max_requests", "count": at.requests}],
        "tokenizer": {"kind": "hf_auto", "model": str(at.folder)},
        "data": [{"kind": "json_file", "path": str(at.folder / "prompts.jsonl")}],
        "outputs": [{"kind": "json", "path": str(at.folder / "guidellm.json")}],
    }  # fmt: skip
    _write(at.folder / "guidellm_spec.json", {"spec": spec})
    return ["guidellm", "run", "-c", str(at.folder / "guidellm_spec.json"), "--disable-console"]


def _guidellm_said(at, _out):
    found = _json(at.folder / "guidellm.json")["benchmarks"][0]["metrics"]
    ttft, itl = (found[f"{name}_ms"]["successful"] for name in ("time_to_first_token", "inter_token_latency"))
    return Said(
        found["request_totals"]["successful"], ttft["mean"], ttft["percentiles"]["p99"], itl["mean"],
        itl["percentiles"]["p99"], by_request=True,
    )  # fmt: skip


def _json(path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
