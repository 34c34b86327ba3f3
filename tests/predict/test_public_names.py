import subprocess
import sys

PROGRAM = """
import reckoner as rk
design = rk.Design(model=rk.model("llama-3.1-8b"), device=rk.device("h100"), serving=rk.Serving(batch=8))
first = rk.predict(design, rk.Workload()).tpot_s
import reckoner.predict.sweep
second = rk.predict(design, rk.Workload()).tpot_s
from reckoner import predict
assert first == second == predict(design).tpot_s == rk.sweep(design).column("tpot_s")[0]
"""


def test_the_public_predict_stays_callable_after_its_room_was_imported():
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)


def test_importing_the_package_imports_no_numpy():
    code = "import sys, reckoner; sys.exit('numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
