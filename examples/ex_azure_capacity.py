"""How many H100s for an hour of Azure's conversation traffic, ten times over?

Llama-3.1-70B in FP8, two H100s a replica, time to first token below 500 ms for 99 of 100 requests, enough replicas up
99.9 % of the time. The same from the command line::

    reckoner capacity llama-3.1-70b -d h100 --tp 2 --weights fp8 --trace examples/data/azure_2023_conv.parquet \
        --times 10 --ttft-p99 0.5 --availability 0.999
"""

from pathlib import Path

import reckoner as rk
from reckoner.simulate import fewest, replay

trace = replay(Path(__file__).parent / "data" / "azure_2023_conv.parquet")
load = trace.repeated(10)
print(f"{len(load):,} requests in {load.span_s / 60:.0f} minutes, {len(load) / load.span_s:.1f} a second")

design = rk.Design(model=rk.model("llama-3.1-70b"), device=rk.device("h100"), serving=rk.Serving(weights="fp8", tp=2))
found = fewest(design, load, rk.Slo(ttft_p99_s=0.5, availability=0.999), report=print)

ttft = found.simulation.percentile("ttft", 0.99)
print(f"{found.needed} replicas keep it: TTFT P99 {ttft.value:.3f} s ({ttft.low:.3f} to {ttft.high:.3f})")
print(f"with {found.spares} spares, {found.needed} are up {found.availability:.3%} of the time: {found.devices} H100s")
