"""Whoever maps finds the same: threads, processes, and real Dask and Ray where the extra ``cluster`` is installed."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

from reckoner.catalogue.find import device, model
from reckoner.design import Design, Slo, Workload
from reckoner.simulate import capacity, search

DESIGN = Design(model=model("llama-3.1-8b"), device=device("h100"))
ASKED = (DESIGN, Workload(prompt_tokens=512.0, output_tokens=64.0), Slo(ttft_p99_s=1.0))
FEW = {"n": 400, "seeds": 2}


class Serial:
    def map(self, function, tasks):
        return [function(task) for task in tasks]


@pytest.fixture(scope="module")
def expected():
    return capacity(*ASKED, **FEW), search(*ASKED, executor=Serial(), weights=["bf16", "fp8"], **FEW)


def same(executor, expected):
    assert capacity(*ASKED, executor=executor, **FEW) == expected[0]
    assert search(*ASKED, executor=executor, weights=["bf16", "fp8"], **FEW) == expected[1]


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_pools_of_the_standard_library_find_what_one_process_finds(kind, expected):
    with kind(2) as executor:
        same(executor, expected)


@pytest.mark.filterwarnings("ignore")
def test_dask_finds_what_one_process_finds(expected):
    distributed = pytest.importorskip("distributed", reason="DASK NOT TESTED: pip install 'reckoner[cluster]'")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        same(client.get_executor(), expected)


@pytest.mark.filterwarnings("ignore")
def test_ray_finds_what_one_process_finds(expected):
    ray = pytest.importorskip("ray", reason="RAY NOT TESTED: pip install 'reckoner[cluster]'")
    from ray.util.multiprocessing import Pool

    environment = {"env_vars": {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=environment)
    try:
        pool = Pool(2)
        same(pool, expected)
        pool.terminate()
    finally:
        ray.shutdown()
