"""The constants of a tier of microcontrollers against the measurements that they were counted from."""

import csv
import gzip
from pathlib import Path

import numpy as np

from reckoner.audit.micro import SLOWER
from reckoner.catalogue import find
from reckoner.errors import ReckonerError

ROWS = Path(__file__).parents[2] / "validation" / "nn_items.csv.gz"


def test_slower_than_the_peak_is_what_the_measured_cortex_m_boards_were() -> None:
    ratios = []
    with gzip.open(ROWS, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["kind"] != "latency_ms":
                continue
            try:
                device = find.device(row["hardware"])
            except ReckonerError:
                continue
            if device.tier == "tinyml" and "gap9" not in device.name:  # GAP9 is a RISC-V cluster with an accelerator
                _, peak = device.first_peak(("int8", "fp16", "fp32"))
                ratios.append(float(row["measured"]) * 1e-3 / (2e9 * float(row["gmacs"]) / peak))
    assert len(ratios) == 117
    np.testing.assert_allclose(np.percentile(ratios, [5, 50, 95]), SLOWER, atol=0.005)
