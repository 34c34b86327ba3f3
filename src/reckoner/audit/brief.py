"""The brief of the Architect's Audit, with the figures that it is known by."""

from __future__ import annotations

from reckoner.audit.plan import Drift, Fairness, MicroTier, Plan, ServedTier
from reckoner.design import Slo

MODEL = "llama-2-7b"
EDGE_USD_PER_HOUR = 0.03
"""A Jetson Orin NX with its board, USD 700 over three years. Assumption."""


def brief() -> Plan:
    """Brief: a 7B model over four tiers, P99 below 100 ms, below USD 0.001 a request, 1000 requests/s, 99.9 %.

    Two H100s at fp16, Orin NX at int8, phones at int4 and a ternary trigger of ten million weights; traffic split 60,
    25, 14 and 1 %; retrained every 30 days; a gap of at most 10 % between groups. What the original does not state, and
    what we assume: prompts of 32 tokens, 40 edge boxes, 20,000 phones and 2,000 microcontrollers, drift of 0.01 PSI a
    day with 0.1 accuracy lost per PSI (its 0.001 a day), base rates of 0.5 and 0.4.
    """
    return Plan(
        name="Architect's brief",
        slo=Slo(e2e_p99_s=0.1, usd_per_request=0.001, requests_per_s=1000.0, availability=0.999),
        tiers={
            "cloud": ServedTier(share=0.6, model=MODEL, device="h100", weights="fp16", replicas=2, batch=64),
            "edge": ServedTier(
                share=0.25, model=MODEL, device="jetson-orin-nx-16gb", weights="int8", replicas=40,
                usd_per_hour=EDGE_USD_PER_HOUR,
            ),
            "mobile": ServedTier(
                share=0.14, model=MODEL, device="apple-a17-pro", weights="int4", replicas=20_000, pooled=False,
                availability=0.9995,
            ),
            "tinyml": MicroTier(share=0.01, device="stm32h743", params=10e6, replicas=2000, availability=0.9995),
        },
        drift=Drift(psi_per_day=0.01, loss_per_psi=0.1, retrain_days=30.0),
        fairness=Fairness(max_gap=0.1, base_rate_a=0.5, base_rate_b=0.4),
    )  # fmt: skip
