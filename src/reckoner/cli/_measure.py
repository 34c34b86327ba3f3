"""What ``reckoner measure`` shows, and the prediction beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from reckoner.cli._design import console
from reckoner.errors import InputError

if TYPE_CHECKING:
    from reckoner.measure.events import RequestRecord
    from reckoner.measure.selftest import ClientError
    from reckoner.measure.session import Measured
    from reckoner.predict.prediction import Prediction

METRICS = {
    "ttft_s": ("ttft", "TTFT"),
    "tpot_s": ("tpot", "TPOT"),
    "e2e_s": ("e2e", "E2E"),
}
TITLES = {"ttft": "TTFT", "tpot": "TPOT", "itl": "ITL", "e2e": "E2E", "e2e_scheduled": "E2E from schedule"}


def show_error(found: Sequence[ClientError]) -> None:
    """Print the client's own error."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title="The client's own error, against a server that wrote down when it sent")
    for name in ("streams", "n", "stamps", "TTFT mean", "TTFT P99", "ITL mean", "ITL P99", "CPU", "tokens/s", "failed"):
        table.add_column(name, justify="left" if name == "stamps" else "right")
    for e in found:
        table.add_row(
            str(e.streams), str(e.n), e.stamps, f"{e.ttft_error_ms_mean:.4f} ms", f"{e.ttft_error_ms_p99:.4f} ms",
            f"{e.itl_error_ms_mean:.4f} ms", f"{e.itl_error_ms_p99:.4f} ms", f"{e.cpu_us_per_token:.1f} us/token",
            f"{e.tokens_per_s:,.0f}", str(e.failed),
        )  # fmt: skip
    screen = console()
    screen.print(table)
    for e in found:
        for line in _remarks(e):
            screen.print(f"{e.streams} streams: {line}", highlight=False)


def _remarks(error: ClientError) -> list[str]:
    """What a figure of the client's own error leaves out, and what spoils it."""
    found = []
    if error.unclear or error.unequal:
        found.append(
            f"{error.unclear + error.unequal} answers left out ({error.unclear} that the server was interrupted at, "
            f"{error.unequal} that it counts otherwise)"
        )
    if error.coalesced > 0.001:
        found.append(
            f"{100.0 * error.coalesced:.2g} % of tokens were joined with the next before the client got to them; "
            "a quieter machine, or a real-time priority (chrt -f 10), helps"
        )
    if error.tokens_per_s < 0.9 * error.asked_tokens_per_s and error.streams >= 32:
        found.append(f"{error.asked_tokens_per_s:,.0f} tokens/s were asked for")
    return found


def show_measured(found: Measured, document: dict[str, Any]) -> None:
    """Print a run: latencies, rates, the client's own error, what failed, and the prediction beside it."""
    from rich import box
    from rich.table import Table

    screen = console()
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("", "mean", "90% interval", "P50", "P90", "P99", "n"):
        table.add_column(name, justify="left" if not name else "right")
    for metric, told in found.latencies.items():
        why = found.refused(metric)
        if why:
            table.add_row(TITLES[metric], "refused", "", "", "", "", "")
            continue
        mean = told.mean
        span = "too few" if mean.low is None or mean.high is None else f"{_ms(mean.low)} - {_ms(mean.high)}"
        tails = [_ms(told.percentiles[q].value) if q in told.percentiles else "too few" for q in (0.5, 0.9, 0.99)]
        table.add_row(TITLES[metric], _ms(mean.value), span, *tails, str(mean.n))
    screen.print(table)
    asked = "" if found.asked_per_s is None else f" of {found.asked_per_s:.3g} asked for"
    lines = [
        f"{found.requests_per_s:.4g} requests/s{asked}, {found.output_tokens_per_s:,.4g} output tokens/s "
        f"(counted by {found.counted_by or 'nobody'}), at most {found.most_in_flight} in flight",
        f"{found.answered} of {len(found.records)} answered; steady from {found.steady_from_s:.3g} s; "
        f"{found.precision.words}",
    ]
    told = document["prompt_tokens"]
    if told["off_by_at_most"]:
        lines.append(
            f"prompts: {told['counted']:.4g} tokens on average where {told['asked']:.4g} were asked for, one "
            f"{told['off_by_at_most']} off: common words are not one token each here"
        )
    if found.failed:
        lines.append("failed: " + ", ".join(f"{count} x {state}" for state, count in sorted(found.failed.items())))
        why = next((r.why for r in found.records if not r.whole and r.why), "")
        lines.append(f"  the first of them: {why}")
    client = found.client
    own = f"; TTFT error {client.ttft_error_ms_mean:.3g} ms, ITL {client.itl_error_ms_mean:.3g} ms" if client else ""
    lines.append(
        f"client: {found.stamps} stamps{own}; sent at most {1e3 * found.late_p99_s:.3g} ms late (P99); "
        f"{100 * found.coalesced:.2g} % of tokens came together"
    )
    if found.client_why:
        lines.append(f"the client's own error is unknown: {found.client_why}")
    if found.clock_stepped_s:
        lines.append(
            f"the clock was stepped by {found.clock_stepped_s:.3g} s meanwhile, so stamps are the client's own"
        )
    lines += [f"{TITLES[m]} refused: {found.refused(m)}" for m in found.latencies if found.refused(m)]
    if document.get("server"):
        lines.append("server: " + ", ".join(f"{k} {v:,.6g}" for k, v in document["server"].items()))
    if document.get("energy_j"):
        lines.append("energy: " + ", ".join(f"{k} {v:,.4g} J" for k, v in document["energy_j"].items()))
    for line in lines:
        screen.print(line, highlight=False)
    if document.get("compared"):
        _show_compared(document)


def _show_compared(document: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for name in ("", "predicted", "90% interval", "measured", "90% interval", "ratio", ""):
        table.add_column(name, justify="left" if not name else "right")
    for row in document["compared"]:
        show = _ms if row["unit"] == "s" else _count
        low, high = row["measured_low"], row["measured_high"]
        table.add_row(
            row["metric"], show(row["predicted"]), f"{show(row['predicted_low'])} - {show(row['predicted_high'])}",
            show(row["measured"]), "" if low is None else f"{show(low)} - {show(high)}", f"{row['ratio']:.3g}",
            "inside" if row["inside"] else "outside",
        )  # fmt: skip
    screen = console()
    screen.print(table)
    if document["cause"]:
        screen.print(f"likeliest cause: {document['cause']}", highlight=False)
    if document.get("subject"):
        screen.print(f"in the ledger as: {document['subject']}", highlight=False)
    for point in document.get("next", [])[:1]:
        screen.print(
            f"measure next: {point['batch']:g} in flight, {point['prompt_tokens']:g} tokens in, "
            f"{point['output_tokens']:g} out: the uncertainty of dollars per token falls from "
            f"{100 * point['before']:.0f} % to {100 * point['after']:.0f} %", highlight=False,
        )  # fmt: skip


def predicted(options: dict[str, Any], rate: float | None, asked: list[tuple[int, int]]) -> Prediction | None:
    """Prediction of a run; None where no model and device were named."""
    if options["model"] is None and options["device"] is None:
        return None
    if options["model"] is None or options["device"] is None:
        raise InputError("a prediction takes both -m MODEL and -d DEVICE")
    from reckoner.catalogue import find
    from reckoner.design import Design, Serving, Workload
    from reckoner.predict.prediction import predict

    named = {"weights": options["weights"], "engine": options["engine"], "tp": options["tp"]}
    serving = Serving(batch=float(options["concurrency"] or 1), **{k: v for k, v in named.items() if v is not None})
    design = Design(model=find.model(options["model"]), device=find.device(options["device"]), serving=serving)
    prompt = sum(p for p, _ in asked) / len(asked)
    output = sum(o for _, o in asked) / len(asked)
    if rate is not None:
        from dataclasses import replace

        inside = predict(design, Workload(prompt_tokens=prompt, output_tokens=output)).e2e_s * rate
        design = replace(design, serving=replace(serving, batch=max(1.0, float(round(4.0 * float(inside))))))
    return predict(design, Workload(prompt_tokens=prompt, output_tokens=output, requests_per_s=rate or 0.0))


def figures_of(question: Prediction) -> dict[str, Any]:
    """What is committed of a prediction."""
    import math

    from reckoner.ledger import Figure

    found = {}
    for metric in (*METRICS, "output_tokens_per_s"):
        value = float(getattr(question, metric))
        if math.isfinite(value):
            low, high = question.interval(metric)
            found[metric] = Figure(value=value, low=float(low), high=float(high))
    if not found:
        raise InputError("the design cannot carry this rate by prediction; lower --rate, or leave out -m and -d")
    return found


def compared_with(
    question: Prediction,
    found: Measured,
    subject: str | None,
    options: dict[str, Any],
    server: Mapping[str, float] | None,
) -> dict[str, Any]:
    """Hold a run against its prediction, and commit the outcome."""
    from dataclasses import asdict

    from reckoner.measure.gap import Compared, Signs, cause

    compared: dict[str, Compared] = {}
    for metric, figure in figures_of(question).items():
        if metric in METRICS:
            told = found.latencies.get(METRICS[metric][0])
            if told is None or found.refused(METRICS[metric][0]):
                continue
            value, low, high, unit = told.mean.value, told.mean.low, told.mean.high, "s"
        else:
            value, low, high, unit = found.output_tokens_per_s, None, None, "1/s"
        if value > 0.0:
            compared[metric] = Compared(
                metric=metric, unit=unit, predicted=figure.value, predicted_low=figure.low, predicted_high=figure.high,
                measured=value, measured_low=low, measured_high=high,
            )  # fmt: skip
    if subject is not None and compared:
        from reckoner.cli._ledger import opened

        with opened(options["url"]) as ledger:
            ledger.observe(subject, {name: one.measured for name, one in compared.items()})
        click.echo(f"committed to the ledger: {subject}", err=True)
    document: dict[str, Any] = {
        "compared": [asdict(one) | {"ratio": one.ratio, "inside": one.inside} for one in compared.values()],
        "cause": cause(compared, signs_of(found, Signs, server or {})),
        "subject": subject,
    }
    if options["wants_next"]:
        document["next"] = _next(question, bool(compared))
    return document


def prompts_seen(records: Sequence[RequestRecord]) -> dict[str, float | None]:
    """Mean prompt length as asked for and as the server counted it, and by how much one prompt is off at most."""
    asked = [r.asked_prompt_tokens for r in records]
    seen = [(r.prompt_tokens, r.asked_prompt_tokens) for r in records if r.prompt_tokens is not None]
    return {
        "asked": sum(asked) / max(len(asked), 1),
        "counted": sum(got for got, _ in seen) / len(seen) if seen else None,
        "off_by_at_most": max(abs(got - wanted) for got, wanted in seen) if seen else None,
    }


def signs_of(found: Measured, kind: Any, server: Mapping[str, float]) -> Any:
    """What else a run shows of its cause."""
    from reckoner.measure.metrics import counted, latency_s

    ttft = latency_s(found.records, "ttft")
    quarter = len(ttft) // 4
    early = float(ttft[quarter : 2 * quarter].mean()) if quarter else 1.0
    late = float(ttft[-quarter:].mean()) if quarter else 1.0
    whole = [r for r in found.records if r.whole]
    events = sum(len(r.token_stamp_s) for r in whole)
    return kind(
        client_bound=next((found.refused(m) for m in ("ttft", "tpot") if found.refused(m)), ""),
        coalesced=found.coalesced,
        tokens_per_event=sum(counted(r).n for r in whole) / events if events else 1.0,
        ttft_rises=late / early if early > 0.0 else 1.0,
        failed=sum(found.failed.values()) / max(len(found.records), 1),
        prefix_hit=server.get("prefix_hit_tokens", 0.0) / max(server.get("prompt_tokens", 0.0), 1.0),
        accepted=server.get("accepted_tokens", 0.0) / max(server.get("output_tokens", 0.0), 1.0),
    )


def _next(question: Prediction, was_measured: bool) -> list[dict[str, Any]]:
    """Places to measure at next, once this run has told what it can."""
    from dataclasses import asdict, replace

    from reckoner.measure.next_point import next_points

    w = question.workload
    places = [
        (batch, replace(w, prompt_tokens=float(w.prompt_tokens) * scale, requests_per_s=0.0))
        for batch in (1.0, 4.0, 16.0, 64.0, 256.0)
        for scale in (0.25, 1.0, 4.0)
        if float(w.prompt_tokens) * scale >= 1.0
    ]
    here = replace(w, requests_per_s=0.0)
    batch = float(question.design.serving.batch)
    found = next_points(question.design, here, places, measured=[(batch, here)] if was_measured else [])
    return [asdict(point) for point in found[:5]]


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:,.4g} ms" if seconds < 10.0 else f"{seconds:,.4g} s"


def _count(value: float) -> str:
    return f"{value:,.4g}/s"
