"""Clients held against the truth: error of TTFT and of gaps, CPU by token, requests a second of a burst, in one run.

    python benchmarks/bench_clients.py --python VENV/bin/python --json clients.json

Every client gets the same load from the same fake server, one after another: N requests at once over N streams, the
next one as one is answered, the first token of each answer 50 ms after the request came. The server writes down when
each request came (the kernel's stamp) and when it handed over each token; where it was itself put aside in between, the
token counts for nothing. What a client says is compared with that: its mean and P99 with the truth's mean and P99, and
request by request where the client tells its requests apart. CPU is that of the client's whole process less that of a
run of one token, so start-up does not count and parsing does. Clients are found on PATH (vllm-rs, aiperf, guidellm) or
as packages of the interpreters given with ``--python`` (aiohttp, sglang, vllm). ``--realtime`` runs server and clients
under ``chrt -f 10``, which keeps the other work of a shared machine out of short runs.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pytest

from clients.known import At, clients, forget, write_tokenizer
from reckoner.measure.fake_server import fake_server
from reckoner.measure.wire.poller import allow_files

TTFT_S = 0.05
LEVELS = (
    (1, 16, 32, 10_000), (64, 256, 32, 10_000), (512, 1024, 32, 10_000), (512, 1024, 32, 25_000),
    (4096, 4096, 8, 10_000),
)  # fmt: skip
"""Streams, requests, tokens of an answer, and tokens a second over all streams at most."""
LEAST_ITL_S = 0.005
LIMIT_S = 150
UNCLEAR = "the server was put aside at every token: there is no truth"
SEEN = 0.1  # CPU beyond a run of one token from which it is told, as a share of that run's. Assumption.


@dataclass(frozen=True)
class Row:
    """One client at one load; errors are absolute, in ms."""

    client: str
    api: str
    streams: int
    paced_tokens_per_s: float
    n: int = 0
    ttft_mean_off_ms: float | None = None
    ttft_p99_off_ms: float | None = None
    itl_mean_off_ms: float | None = None
    itl_p99_off_ms: float | None = None
    ttft_error_mean_ms: float | None = None
    ttft_error_p99_ms: float | None = None
    itl_error_mean_ms: float | None = None
    itl_error_p99_ms: float | None = None
    cpu_us_per_token: float | None = None
    loop_cpu_us_per_token: float | None = None
    coalesced: float | None = None
    tokens_per_s: float | None = None
    burst_requests_per_s: float | None = None
    unclear: float = 0.0
    why: str = ""


def truth(url):
    """What the server did since it was asked last, in the order in which requests came."""
    with urllib.request.urlopen(f"{url}/truth", timeout=60) as reply:
        return sorted(json.loads(reply.read()), key=lambda entry: entry["came_ns"])


def row(client, at, rate, realtime, idle_s):
    """Drive one client at one load and compare."""
    base = {"client": client.name, "api": "chat" if at.chat else "completions", "streams": at.streams}
    base |= {"paced_tokens_per_s": rate}
    truth(at.url)
    forget(at.folder)
    try:
        spent, out = called(client.command(at), at.folder, realtime)
        said = client.read(at, out)
    except (subprocess.SubprocessError, OSError, ValueError, KeyError, IndexError, TypeError) as error:
        return Row(**base, why=_why(error))
    known = truth(at.url)[-at.requests :]
    if len(known) < at.requests or said.answered < at.requests:
        return Row(**base, n=said.answered, why=f"{said.answered} of {at.requests} requests answered")
    found = compared(at, said, known, spent, idle_s)
    return Row(**base, n=said.answered, **found) if found else Row(**base, n=said.answered, unclear=1.0, why=UNCLEAR)


def compared(at, said, known, spent_s, idle_s):
    """Hold what a client said against what the server did; nothing where no stamp of the server is clear."""
    came = np.array([entry["came_ns"] for entry in known], dtype=np.float64)
    sent = np.array([entry["sent_ns"] for entry in known], dtype=np.float64)
    clear = sent > 0.0
    first = ((sent[:, 0] - came) * 1e-6)[clear[:, 0]]
    gaps = np.diff(sent, axis=1) * 1e-6
    both = clear[:, 1:] & clear[:, :-1]
    whole = clear[:, 0] & clear[:, -1]
    itl = (sent[whole, -1] - sent[whole, 0]) * 1e-6 / (at.tokens - 1) if said.by_request else gaps[both]
    if not len(first) or not len(itl):
        return {}
    wave = came[: at.streams]
    used = spent_s - idle_s
    found = {
        "ttft_mean_off_ms": abs(said.ttft_mean - first.mean()),
        "ttft_p99_off_ms": abs(said.ttft_p99 - np.quantile(first, 0.99)),
        "itl_mean_off_ms": abs(said.itl_mean - itl.mean()),
        "itl_p99_off_ms": abs(said.itl_p99 - np.quantile(itl, 0.99)),
        "cpu_us_per_token": 1e6 * used / (at.requests * at.tokens) if used > SEEN * idle_s else None,
        "loop_cpu_us_per_token": None if said.loop_cpu_s is None else 1e6 * said.loop_cpu_s / (at.requests * at.tokens),
        "coalesced": None if said.coalesced is None else said.coalesced / (at.requests * at.tokens),
        "tokens_per_s": at.requests * at.tokens / ((sent.max() - came.min()) * 1e-9),
        "burst_requests_per_s": (at.streams - 1) / ((wave[-1] - wave[0]) * 1e-9) if at.streams > 1 else None,
        "unclear": 1.0 - clear.mean(),
    }
    if said.single:
        by_index = [said.single[entry["index"]] for entry in known]
        ttft = np.abs(np.array([ttft_ms for ttft_ms, _ in by_index])[clear[:, 0]] - first)
        gap = np.abs(np.array([gaps_ms for _, gaps_ms in by_index]) - gaps)[both]
        found |= {
            "ttft_error_mean_ms": ttft.mean(), "ttft_error_p99_ms": np.quantile(ttft, 0.99),
            "itl_error_mean_ms": gap.mean(), "itl_error_p99_ms": np.quantile(gap, 0.99),
        }  # fmt: skip
    return {name: None if value is None else float(value) for name, value in found.items()}


def called(command, folder, realtime):
    """CPU seconds of a command with its children, and its output."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    quiet = {"OPENBLAS_NUM_THREADS": "1", "HOME": str(folder)}
    done = subprocess.run(
        [*(["chrt", "-f", "10"] if realtime else []), *command],
        capture_output=True, text=True, timeout=LIMIT_S, cwd=folder, env=os.environ | quiet, check=False,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        telling = [line for line in lines if "failed" in line or "Error:" in line] or lines or ["no output"]
        raise ValueError(f"exit code {done.returncode}: {telling[-1].strip(' │|')[:200]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def _why(error):
    if isinstance(error, subprocess.TimeoutExpired):
        return f"not done within {LIMIT_S} s"
    return f"{type(error).__name__}: {error}" if not isinstance(error, ValueError) else str(error)


def rows(found, levels, *, chat=False, realtime=False, rounds=1, tell=None):
    """Rows of every client at every level; of several rounds, the medians."""
    allow_files(max(level[0] for level in levels))
    told = []
    with tempfile.TemporaryDirectory() as name, fake_server() as url:
        if realtime:
            _realtime()
        folder = Path(name)
        write_tokenizer(folder)
        for client in found:
            once = At(url, model(1, LEAST_ITL_S), 1, 1, 1, chat, folder)
            idle_s = min(_idle(client, once, realtime) for _ in range(2))
            for streams, requests, tokens, rate in levels:
                itl_s = max(streams / rate, LEAST_ITL_S)
                at = At(url, model(tokens, itl_s), streams, requests, tokens, chat, folder)
                times = 1 if client.slow else rounds
                told.append(median([row(client, at, streams / itl_s, realtime, idle_s) for _ in range(times)]))
                if tell is not None:
                    tell(told[-1])
    return sorted(told, key=lambda r: (r.streams, r.paced_tokens_per_s))


def _idle(client, at, realtime):
    try:
        return called(client.command(at), at.folder, realtime)[0]
    except (subprocess.SubprocessError, OSError, ValueError):
        return float("nan")  # its rows will say why


def _realtime():
    """Put the server, a child of this process, under the same class as its clients."""
    listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True, check=True
    )
    for line in listed.stdout.splitlines():
        if "fake_server" in line:
            subprocess.run(["chrt", "-f", "-a", "-p", "10", line.split()[0]], check=True)


def model(tokens, itl_s):
    """Name by which the fake server knows what to do."""
    return f"ttft={TTFT_S},itl={itl_s:.6f},n={tokens}"


def median(found):
    """Median of each figure over the rounds; a round that failed says so."""
    bad = next((r for r in found if r.why), None)
    if bad is not None:
        return bad
    values = asdict(found[0])
    for name, value in values.items():
        if isinstance(value, float) or value is None:
            kept = [v for v in (getattr(r, name) for r in found) if v is not None]
            values[name] = statistics.median(kept) if kept else None
    return Row(**values)


COLUMNS = (
    ("TTFT mean, ms", "ttft_mean_off_ms"), ("TTFT P99, ms", "ttft_p99_off_ms"), ("ITL mean, ms", "itl_mean_off_ms"),
    ("ITL P99, ms", "itl_p99_off_ms"), ("CPU, us/token", "cpu_us_per_token"),
    ("burst, requests/s", "burst_requests_per_s"),
)  # fmt: skip
SINGLE = (
    ("TTFT mean, ms", "ttft_error_mean_ms"), ("TTFT P99, ms", "ttft_error_p99_ms"),
    ("gap mean, ms", "itl_error_mean_ms"), ("gap P99, ms", "itl_error_p99_ms"),
    ("CPU while it runs, us/token", "loop_cpu_us_per_token"),
)  # fmt: skip


def table(told, absent):
    """Markdown: how far off each client's figures are, its error request by request, and who did not run."""
    whole = _lines(told, COLUMNS)
    single = _lines([r for r in told if r.ttft_error_mean_ms is not None], SINGLE)
    missing = [f"not run: {name}: {why}" for name, why in sorted(absent.items())]
    parts = ["Off by, over all requests:", *whole, "", "Off by, request by request and gap by gap:", *single]
    return "\n".join([*parts, "", *missing] if missing else parts)


def _lines(told, columns):
    head = ["streams", "client", *(title for title, _ in columns)]
    lines = ["", f"| {' | '.join(head)} |", f"|---|---|{'---:|' * len(columns)}"]
    for r in told:
        streams = f"{r.streams:,} at {r.paced_tokens_per_s:,.0f}/s"
        cells = [_cell(getattr(r, name)) for _, name in columns] if not r.why else [r.why] + [""] * (len(columns) - 1)
        lines.append(f"| {' | '.join([streams, r.client, *cells])} |")
    return lines


def _cell(value):
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.4f}" if value < 0.01 else f"{value:.3g}"


def machine(realtime):
    """What the figures were taken on."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return {"cpu": name, "cores": os.cpu_count(), "load": os.getloadavg()[0], "realtime": realtime}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", default=[], help="interpreter with aiohttp, sglang or vllm")
    parser.add_argument("--only", action="append", help="client to ask, by name; repeatable")
    parser.add_argument("--streams", help="levels to run, such as 1,64")
    parser.add_argument("--chat", action="store_true", help="chat instead of completions")
    parser.add_argument(
        "--rounds",
        type=int,
        default=1,
        help="rounds of which the median counts; one of a client that takes seconds to start",
    )
    parser.add_argument("--realtime", action="store_true", help="under chrt -f 10")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    given = parser.parse_args()
    if given.realtime and shutil.which("chrt") is None:
        parser.error("--realtime needs chrt, of util-linux")
    found, absent = clients(given.python)
    chosen = [client for client in found if given.only is None or client.name in given.only]
    wanted = None if given.streams is None else {int(part) for part in given.streams.split(",")}
    levels = [level for level in LEVELS if wanted is None or level[0] in wanted]

    def tell(r):
        print(f"{r.client} at {r.streams}: {r.why or 'done'}", file=sys.stderr)

    told = rows(chosen, levels, chat=given.chat, realtime=given.realtime, rounds=given.rounds, tell=tell)
    print(table(told, absent))
    document = {"machine": machine(given.realtime), "rounds": given.rounds, "rows": [asdict(r) for r in told]}
    document |= {"not_run": absent}
    if given.json is not None:
        given.json.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")


@pytest.mark.parametrize("chat", [False, True])
def test_every_client_that_is_here_answers_the_same_load(chat):
    found, absent = clients([sys.executable])
    told = rows(found, [(4, 8, 4, 10_000)], chat=chat)
    print("\n" + table(told, absent))
    assert told[0].client == "reckoner"
    assert told[0].why in ("", UNCLEAR)
    assert told[0].n == 8


if __name__ == "__main__":
    main()
