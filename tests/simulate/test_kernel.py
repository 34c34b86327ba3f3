from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from reckoner.simulate import Continuous, Server, gamma, lognormal, simulate
from reckoner.simulate.cost import linear_cost
from reckoner.simulate.kernel_layout import COMPILED

RUN = """
import sys
{before}
from reckoner.simulate import Continuous, Server, gamma, lognormal, simulate
from reckoner.simulate.cost import linear_cost
from reckoner.simulate.kernel_layout import COMPILED
assert COMPILED is {compiled}
cost = linear_cost(base_s=0.01, token_s=1e-4, kappa_s=1e-6)
server = Server(cost=cost, scheduler=Continuous(max_seqs=16), kv_tokens=4000)
found = simulate(server, gamma(8.0, lognormal(300.0, 80.0), n=200, seed=5, cv=2.0))
print(found.finish_s.sum().hex(), found.preemptions)
"""


def result(before, compiled):
    code = RUN.format(before=before, compiled=compiled)
    words = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


@pytest.mark.skipif(not COMPILED, reason="numba is not installed: there is one form of the kernel only")
def test_the_kernel_without_numba_gives_the_same_answer_to_the_last_bit_or_two():
    plain, compiled = result("sys.modules['numba'] = None", False).split(), result("", True).split()
    assert float.fromhex(plain[0]) == pytest.approx(float.fromhex(compiled[0]), rel=1e-12)
    assert plain[1] == compiled[1]
    assert int(plain[1]) > 0


def test_importing_the_room_imports_no_numba():
    code = "import sys, reckoner.simulate.server; sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_run_in_slices_of_arrivals_equals_the_run_at_once(monkeypatch):
    server = Server(cost=linear_cost(base_s=0.01, token_s=1e-4), scheduler=Continuous(max_seqs=16), kv_tokens=4000)
    arrivals = gamma(8.0, lognormal(300.0, 80.0), n=500, seed=5, cv=2.0)
    at_once = simulate(server, arrivals)
    monkeypatch.setattr("reckoner.simulate.run.SLICE", 37)
    seen = []
    sliced = simulate(server, arrivals, progress=lambda done, total: seen.append((done, total)))
    assert np.array_equal(at_once.finish_s, sliced.finish_s)
    assert seen[-1] == (500, 500)
    assert len(seen) == 14


def test_requests_take_less_than_two_hundred_bytes_each():
    server = Server(cost=linear_cost(base_s=0.01, token_s=1e-4), scheduler=Continuous())
    from reckoner.simulate.run import requests_of

    arrivals = gamma(8.0, lognormal(300.0, 80.0), n=1000, seed=5, cv=1.0)
    held = requests_of(arrivals).nbytes + sum(
        v.nbytes for v in (arrivals.arrival_s, arrivals.prompt_tokens, arrivals.output_tokens)
    )
    assert held / 1000 < 200
    assert len(simulate(server, arrivals)) == 1000
