"""The roofline picture: what a device can reach, and where a prediction's decode step and prefill lie under it."""

from __future__ import annotations

import numpy as np

from reckoner.errors import InputError
from reckoner.physics import roofline
from reckoner.predict.numbers import Numbers, numbers_of
from reckoner.predict.plan import prepare, shared_batch
from reckoner.predict.prediction import Prediction
from reckoner.predict.terms import Work
from reckoner.predict.work import decode_work, kv_copies, prefill_work
from reckoner.report.chart import Chart, Series, table_of

_ROOF_POINTS = 40


def roofline_chart(prediction: Prediction) -> Chart:
    """Draw the roof of one device with the two passes of a request under it.

    Parameters
    ----------
    prediction : Prediction
        Of one design, not of a grid.

    Returns
    -------
    Chart
        Both axes logarithmic, per device.

    Raises
    ------
    InputError
        The question held arrays.
    """
    design = prediction.design
    numbers = numbers_of(design, prediction.workload)
    if not all(isinstance(value, float) for value in numbers):
        raise InputError("the question holds several designs; draw the roofline of one of them")
    device, peak = design.device, design.peak_flop_per_s
    bandwidth = device.bandwidth_bytes_per_s
    passes = _passes(prediction, numbers)
    points = {name: (_intensity(work), float(work.flops) / (total_s * ranks)) for name, work, total_s, ranks in passes}
    corner = float(roofline.ridge(peak, bandwidth))
    intensities = [x for x, _ in points.values()]
    low, high = min(0.3, *intensities) / 2.0, max(3.0 * corner, *intensities) * 2.0
    along = sorted({corner, *np.geomspace(low, high, _ROOF_POINTS).tolist()})
    roof = Series(
        name=f"{device.title}, {design.compute_dtype}",
        x=tuple(along),
        y=tuple(float(roofline.attainable(x, peak, bandwidth)) / 1e12 for x in along),
    )
    dots = tuple(
        Series(name=name, x=(x,), y=(reached / 1e12,), style="dots", tone=tone)
        for tone, (name, (x, reached)) in enumerate(points.items(), start=1)
    )
    shares = {name: reached / float(roofline.attainable(x, peak, bandwidth)) for name, (x, reached) in points.items()}
    said = ", ".join(f"{name} reaches {share:.0%} of its roof" for name, share in shares.items())
    return Chart(
        name="roofline",
        title=f"{design.model.title} on {device.title}",
        x_title="arithmetic intensity [FLOP/byte]",
        y_title="arithmetic rate of one device [TFLOP/s]",
        series=(roof, *dots),
        caption=f"Left of {corner:.0f} FLOP/byte memory bandwidth binds, right of it arithmetic does; {said}.",
        table=table_of("arithmetic intensity [FLOP/byte]", (roof, *dots)),
        log_x=True,
        log_y=True,
    )


def _passes(prediction: Prediction, numbers: Numbers) -> tuple[tuple[str, Work, float, float], ...]:
    shape, outcome = prepare(prediction.design).shape, prediction.outcome
    prefix = numbers.prompt_tokens * numbers.prefix_hit
    context = numbers.prompt_tokens + 0.5 * numbers.output_tokens
    copies = kv_copies(shape.kv_heads, numbers.tp)
    step = decode_work(shape, shared_batch(outcome.batch, numbers.pp), context, numbers.draft_tokens, copies)
    ranks = float(numbers.tp * numbers.dp)
    reading = float(numbers.prefill_ranks) if numbers.prefill_replicas else ranks
    drafted = f", {float(numbers.draft_tokens):g} drafted" if numbers.draft_tokens else ""
    own = prefill_work(shape, 1.0, numbers.prompt_tokens - prefix, prefix)
    return (
        (f"decode step, batch {float(outcome.batch):.3g}{drafted}", step, float(outcome.step.total_s), ranks),
        (f"prefill, {float(numbers.prompt_tokens):g} tokens", own, float(outcome.own.total_s), reading),
    )


def _intensity(work: Work) -> float:
    return float(roofline.intensity(work.flops, work.weight_bytes + work.kv_bytes))
