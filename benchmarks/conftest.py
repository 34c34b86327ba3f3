"""Benchmarks run on one thread and are files named bench_*.py; `just bench` runs them, the tests do not."""

import os
import sys

import pytest

if os.environ.get("OPENBLAS_NUM_THREADS") != "1" and "numpy" in sys.modules:
    raise pytest.UsageError("NumPy is loaded already; run with OPENBLAS_NUM_THREADS=1")
os.environ["OPENBLAS_NUM_THREADS"] = "1"


def pytest_collect_file(file_path, parent):
    if file_path.match("bench_*.py") and not parent.session.isinitpath(file_path):  # pytest takes named files itself
        return pytest.Module.from_parent(parent, path=file_path)
    return None
