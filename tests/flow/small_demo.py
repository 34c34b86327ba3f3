"""The main job made small for tests: thirty real probes, one curve of three contexts, tests of a twentieth of a second.

Run as a script it is a process that can be killed: ``python small_demo.py OUT``.
"""

import sys
from pathlib import Path

from reckoner.evaluate.report import Sampling
from reckoner.measure.curves import CurvesPlan
from reckoner.tutor import versions
from reckoner.workbench import demo

PLAN = demo.DemoPlan(
    name="small",
    throughput_s=0.05,
    throughput_repeats=5,
    curves=CurvesPlan(s_points=(8, 16, 32, 64), fit_up_to=32, repeats=6, point_budget_s=0.1),
    new_tokens=4,
    sampling=Sampling(probes=2, n=2, ks=(1, 2)),
)


def make_small(folder, set_attribute):
    """Point the job at a tenth of the probes and at one curve."""
    probes = versions.probes_path().read_text(encoding="utf-8").splitlines(keepends=True)
    small = Path(folder) / "probes.jsonl"
    small.write_text("".join(probes[::24]), encoding="utf-8")
    set_attribute(versions, "probes_path", lambda: small)
    whole = demo._targets
    set_attribute(demo, "_targets", lambda *arguments: whole(*arguments)[:1])


if __name__ == "__main__":
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    make_small(out, setattr)
    demo.run_demo(PLAN, demo.Places.under(out), progress=lambda stage, share: print(stage, share, flush=True))
