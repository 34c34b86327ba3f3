"""Whether the load was what was asked, and whether rates, counts and the length of the run agree."""

from __future__ import annotations

import math
from collections.abc import Iterator

from reckoner.measure.importers.findings import Finding, ms, off, plural
from reckoner.measure.importers.imported import Imported

HELD = 0.05
"""Relative distance from the asked rate that is no finding. Assumption."""
AGREE = 0.02
"""Relative distance at which two statements of one figure differ. Assumption; right clients lie within 0.001."""


def check_load(run: Imported) -> Iterator[Finding]:
    """Try every law of this module."""
    yield from arrivals(run)
    yield from concurrency(run)
    yield from throughput(run)
    yield from clock(run)
    yield from failures(run)


def sent_per_s(run: Imported) -> tuple[float, float] | None:
    """Bounds of the rate at which requests were sent: exact from start times, else from the length of the run.

    A run lasts from the first request to the end of the last, so between n / T and (n - 1) / (T - longest E2E).
    """
    starts = sorted(one.start_s for one in run.requests if one.start_s is not None)
    if len(starts) > 1 and starts[-1] > starts[0]:
        rate = (len(starts) - 1) / (starts[-1] - starts[0])
        return rate, rate
    n = (run.completed or 0) + (run.failed or 0)
    if n < 2 or not run.duration_s:
        return None
    told = run.statistics.get("e2e_s")
    values = run.values("e2e_s")
    most = float(values.max()) if values.size else (None if told is None else told.most or told.at(0.99) or told.mean)
    rest = run.duration_s - (most or 0.0)
    return (n - 1) / run.duration_s, (n / rest if rest > 0 else math.inf)


def arrivals(run: Imported) -> Iterator[Finding]:
    """The asked rate against that at which requests were sent, beyond what chance allows n random arrivals."""
    asked = run.load.requests_per_s
    bounds = sent_per_s(run)
    if asked is None or not math.isfinite(asked) or asked <= 0 or bounds is None:
        return
    n = (run.completed or 0) + (run.failed or 0) or len(run.requests)
    allowed = HELD + 2.0 / math.sqrt(max(n, 1))
    low, high = bounds
    if high >= asked * (1 - allowed) and low <= asked * (1 + allowed):
        return
    near = high if high < asked else low
    short = near < asked
    yield Finding(
        severity="error" if short and near < 0.8 * asked * (1 - 2.0 / math.sqrt(max(n, 1))) else "warning",
        rule="rate",
        says=f"{asked:.4g} requests/s were asked, {near:.4g} were sent ({near / asked - 1:+.0%}, "
        f"{plural(n, 'request')}): "
        + (
            "the client or a cap on requests under way held them back, and their waiting is in no latency"
            if short
            else "more load than the label says"
        ),
    )


def concurrency(run: Imported) -> Iterator[Finding]:
    """Little's law: requests under way are rate x E2E, at most what was asked."""
    asked, e2e = run.load.concurrency, run.mean("e2e_s")
    rate = run.rates.get("requests_per_s")
    if asked is None or e2e is None or rate is None:
        return
    flying = rate * e2e
    if flying > asked * (1 + HELD):
        yield Finding(
            severity="error",
            rule="concurrency",
            says=f"{rate:.4g} requests/s x {ms(e2e)} = {flying:.3g} under way, above the limit of {asked:,}: "
            f"rate, latency "
            "or limit is wrong (Little's law)",
        )
    elif not run.load.open_loop and (run.completed or 0) >= 4 * asked and flying < 0.8 * asked:
        yield Finding(
            severity="warning",
            rule="concurrency",
            says=f"{flying:.3g} requests were under way on average where {asked:,} were asked: ramps or a slow client "
            "thinned the load (Little's law)",
        )


def throughput(run: Imported) -> Iterator[Finding]:
    """Rates are counts over the length of the run."""
    if not run.duration_s or not run.completed:
        return
    outputs, prompts = (run.statistics.get(name) for name in ("output_tokens", "prompt_tokens"))
    expected = {"requests_per_s": run.completed / run.duration_s}
    for name, told in (("output_tokens_per_s", outputs), ("prompt_tokens_per_s", prompts)):
        if told is not None and told.mean is not None:
            expected[name] = told.mean * run.completed / run.duration_s
    if run.tool in ("guidellm", "llama-bench"):  # GuideLLM's are means over time, ramps included
        return
    for name, true in expected.items():
        said = run.rates.get(name)
        if said is not None and true > 0 and off(said, true) > AGREE:
            yield Finding(
                severity="warning",
                rule="throughput",
                says=f"{name.removesuffix('_per_s').replace('_', ' ')} per second are stated as {said:.4g}, "
                f"counts over "
                f"{run.duration_s:.4g} s give {true:.4g} ({said / true - 1:+.0%}); they are of different windows",
            )


def clock(run: Imported) -> Iterator[Finding]:
    """No request lasts longer than the run, and what the requests span is the run's length."""
    if not run.duration_s:
        return
    told = run.statistics.get("e2e_s")
    values = run.values("e2e_s")
    longest = float(values.max()) if values.size else (None if told is None else told.most)
    if longest is not None and longest > run.duration_s * (1 + AGREE) + 1e-3:
        yield Finding(
            severity="error",
            rule="clock",
            says=f"a request lasted {ms(longest)} in a run of {ms(run.duration_s)}; one of the two clocks is wrong",
        )
    ends = [
        (one.start_s, one.start_s + one.seconds)
        for one in run.succeeded
        if one.start_s is not None and one.seconds is not None
    ]
    if len(ends) < 2 or len(ends) != (run.completed or len(ends)):
        return
    span = max(end for _, end in ends) - min(start for start, _ in ends)
    if off(span, run.duration_s) > 0.1 and abs(span - run.duration_s) > 0.1:
        yield Finding(
            severity="warning",
            rule="clock",
            says=f"requests span {ms(span)} but the run is said to last {ms(run.duration_s)}; rates rest on the latter",
        )


def failures(run: Imported) -> Iterator[Finding]:
    """Failed requests: how many, and whether a latency counts them."""
    failed = run.failed if run.failed is not None else sum(one.error is not None for one in run.requests)
    good = run.completed if run.completed is not None else len(run.succeeded)
    if not failed:
        return
    counted = [
        one
        for name, one in run.statistics.items()
        if name in ("e2e_s", "ttft_s") and one.n is not None and one.n > good
    ]
    if counted:
        yield Finding(
            severity="error",
            rule="failed-in-latency",
            says=f"{counted[0].stated_as} counts {counted[0].n:,} requests but only {good:,} succeeded: "
            f"failures are in "
            "the latencies",
        )
    share = failed / (failed + good)
    yield Finding(
        severity="warning" if share > 0.01 else "note",
        rule="failures",
        says=f"{plural(failed, 'request')} of {failed + good:,} failed ({share:.1%}): latencies are of the others, and "
        "those that failed may have been the slow ones",
    )
