"""SQL fit of request logs in Parquet against pandas + scikit-learn: seconds and peak memory, one core, in one run.

RECKONER_BENCH_ROWS sets the rows of the log (10,000,000 by default; 100,000,000 takes 1.2 GB of disk).
RECKONER_PEER_PYTHON names an interpreter that has pandas, pyarrow and scikit-learn; by default this one.
"""

import os
import subprocess
import sys
import textwrap

import pytest

pytest.importorskip("duckdb")
ROWS = int(float(os.environ.get("RECKONER_BENCH_ROWS", "1e7")))

OURS = """
from reckoner.calibrate.sql_fit import fit
from reckoner.calibrate.sql_sources import open_source
source = open_source(path, threads=1)
source.connection.execute("SET memory_limit = '250MB'")
started, cpu = time.perf_counter(), time.process_time()
found = fit(source, **how)
theta = [found.models[0].s_per_prompt_token, found.models[0].s_per_completion_token]
"""

PEER = """
import numpy as np, pandas as pd
from sklearn.linear_model import LinearRegression
started, cpu = time.perf_counter(), time.process_time()
frame = pd.read_parquet(path)
for model, part in frame.groupby("model"):
    x = part[["prompt_tokens", "completion_tokens"]].to_numpy(float)
    f = 0.3 + 0.0005 * x[:, 0] + 0.008 * x[:, 1]
    line = LinearRegression().fit(x, part["e2e_s"].to_numpy(), sample_weight=1 / f**2)
    if model == "m0":
        theta = list(line.coef_)
"""


def once(code, path, how):
    """Run in a process of its own, on one core; return seconds, seconds of CPU, peak MB and two coefficients."""
    script = textwrap.dedent(
        f"""
        import resource, sys, time
        path, how = {str(path)!r}, {how!r}
        {textwrap.indent(code, "        ").strip()}
        took, cpu = time.perf_counter() - started, time.process_time() - cpu
        print(took, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, *theta)
        """
    )
    quiet = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    python = os.environ.get("RECKONER_PEER_PYTHON", sys.executable) if code is PEER else sys.executable
    words = [python, "-c", script]
    told = subprocess.run(words, check=False, capture_output=True, text=True, env={**os.environ, **quiet})
    if told.returncode:
        return None, (told.stderr.strip().splitlines() or ["it did not start"])[-1]
    return [float(word) for word in told.stdout.split()], ""


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    import duckdb

    path = tmp_path_factory.mktemp("log") / "log.parquet"
    duckdb.connect().execute(
        f"""COPY (SELECT 'm' || (i % 8) AS model, CAST(hash(i) % 8000 + 1 AS INTEGER) AS prompt_tokens,
        CAST(hash(i * 7 + 1) % 900 + 1 AS INTEGER) AS completion_tokens,
        (0.15 + (hash(i) % 8000 + 1) * 0.00005 * (1 + i % 8) + (hash(i * 7 + 1) % 900 + 1) * 0.008)
        * exp(((hash(i * 13 + 5) % 2000) / 1000.0 - 1) * 0.2) AS e2e_s FROM range({ROWS}) t(i)) TO '{path}'"""
    )
    yield path
    path.unlink()


def test_sql_fit_against_pandas_and_scikit_learn(log):
    print(f"\n{ROWS:,} rows, {log.stat().st_size / 1e6:.0f} MB of Parquet")
    best = {}
    for name, code, how in (
        ("ours", OURS, {}),
        ("ours, one pass, prior's weights", OURS, {"passes": 1}),
        ("ours, the whole log thrice", OURS, {"sample": 0}),
        ("pandas + scikit-learn", PEER, {}),
    ):
        runs = []
        for _ in range(3):
            found, why = once(code, log, how)
            if found is None:
                break
            runs.append(found)
        if not runs:
            print(f"{name:32} not run: {why}")
            continue
        best[name] = min(runs)
        print(f"{name:32} {best[name][0]:6.2f} s ({best[name][1]:.2f} s of CPU)  {best[name][2]:6.0f} MB")
    ours = best["ours"]
    assert ours[3:] == pytest.approx([5e-5, 8e-3], rel=0.02)
    assert ours[3:] == pytest.approx(best["ours, the whole log thrice"][3:], rel=1e-3)
    if "pandas + scikit-learn" in best:
        peer = best["pandas + scikit-learn"]  # least squares with the weights of the first pass
        assert best["ours, one pass, prior's weights"][3:] == pytest.approx(peer[3:], rel=1e-3)
        print(f"ratio: {peer[1] / ours[1]:.1f} x less CPU, {peer[2] / ours[2]:.1f} x less memory")
        assert ours[1] < peer[1]
