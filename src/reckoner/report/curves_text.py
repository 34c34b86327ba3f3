"""The cost curves in words: a README whose three paragraphs follow from the figures, with its pictures and tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reckoner.files import write_atomic
from reckoner.measure.curve_results import CurvesResult, LatencyPoint, TargetCurves
from reckoner.measure.fits import Law
from reckoner.report.curves_figures import label, latency_chart, memory_chart
from reckoner.report.png import to_png
from reckoner.report.tables import Estimate, Table, number, to_markdown

GOOD_R2 = 0.95  # the seed's mark for the with-cache fit: it tests the protocol, not the physics
NEAR = 0.10  # the seed's "within 10% of theory"


def write_curves(curves: CurvesResult, folder: Path) -> None:
    """Write a finished run: three JSON files, ``memory.png`` and ``latency.png`` and, last, ``README.md``.

    The first target has the plain names; every other one has its own pictures, ``latency-<target>.png``.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    ReckonerError
        The folder cannot be written.
    """
    curves.write(folder)
    for index, one in enumerate(curves.targets):
        to_png(memory_chart(one), folder / picture("memory", one, index))
        to_png(latency_chart(one), folder / picture("latency", one, index))
    write_atomic(folder / "README.md", readme(curves))


def picture(kind: str, curves: TargetCurves, index: int) -> str:
    """File name of a target's picture."""
    return f"{kind}.png" if index == 0 else f"{kind}-{curves.target.key}.png"


def readme(curves: CurvesResult) -> str:
    """The whole README as Markdown; same result, same text."""
    first = curves.targets[0]
    here = first.environment
    plan = curves.plan
    parts = [
        "# What a KV cache costs and saves",
        f"Measured on {curves.date} with seed {plan.seed} on {here.cpu_model or 'an unnamed processor'} "
        f"({here.logical_cores} logical cores, {here.ram_gib:.0f} GiB, governor {here.governor or 'not readable'}), "
        "one thread. Every figure below is in `memory.json`, `latency.json` and `manifest.json`; "
        "this text is generated from them.",
        "## Memory",
        memory_paragraph(curves.targets),
        "![memory](memory.png)",
        to_markdown(memory_table(curves.targets)),
        "## Latency",
        latency_paragraph(curves.targets),
        "![latency](latency.png)",
        to_markdown(latency_table(curves.targets)),
        to_markdown(law_table(curves.targets)),
        "## Crossover",
        crossover_paragraph(curves.targets),
        "## How it was measured",
        method_paragraph(curves),
    ]
    others = [
        f"- {label(one)}: [memory]({picture('memory', one, index)}), [latency]({picture('latency', one, index)})"
        for index, one in enumerate(curves.targets)
        if index
    ]
    if others:
        parts += ["## More pictures", "\n".join(others)]
    cautions = sorted({caution.message for one in curves.targets for caution in one.cautions})
    if cautions:
        parts += ["## Cautions", "\n".join(f"- {message}" for message in cautions)]
    return "\n\n".join(parts) + "\n"


def memory_paragraph(targets: Sequence[TargetCurves]) -> str:
    """Does the resident size follow theory, and where not, why."""
    sentences = []
    for one in targets:
        errors = one.memory_errors
        if errors.pages is None:
            sentences.append(
                f"**{label(one)}** fills its whole cache at start, so its resident size grows with the capacity, "
                f"not with S. {_differences(errors.rss)}"
            )
            continue
        shortest, longest = one.memory[0], one.memory[-1]
        verdict = "within" if errors.pages <= NEAR else "not within"
        sentences.append(
            f"**{label(one)}**: the cache counts exactly the theoretical bytes"
            f"{'' if not errors.used else f' up to {_percent(errors.used)}'}, of "
            f"{number((shortest.bytes_allocated or 0) / 2**20)} MiB allocated at every S. The resident growth is "
            f"{verdict} 10% of the pages that those bytes lie on (largest error {_percent(errors.pages)}). Against the "
            f"bytes themselves it is {number(shortest.rss_growth_bytes / shortest.theory_bytes, 3)} times theory at "
            f"S = {shortest.s} and {number(longest.rss_growth_bytes / longest.theory_bytes, 4)} times at "
            f"S = {longest.s}: memory comes in whole pages, one run of them for each head of each layer, and that is "
            f"the floor (at least {number(_floor_kib(one), 4)} KiB here)."
        )
    sentences.append(
        "Pages become resident when they are first written, so an allocation alone shows nothing, and a process that "
        "ran before shows no growth at all: each point is a fresh process, with the temporaries of a forward pass "
        "brought to their peak before the baseline is read."
    )
    return "\n\n".join(sentences)


def latency_paragraph(targets: Sequence[TargetCurves]) -> str:
    """How well the two laws hold where they were fitted and beyond."""
    sentences = []
    for one in targets:
        slope = one.with_cache.coefficients[1]
        clear = slope.low is not None and slope.low > 0
        r2 = one.with_cache.r2
        sentences.append(
            f"**{label(one)}**: with the cache, alpha + beta S fitted to S <= {max(one.with_cache.fitted_s)} has "
            f"R² {_figure(r2)}"
            + ("" if r2 is not None and r2 >= GOOD_R2 else ", a low one")
            + (
                "; the slope is clear of zero"
                if clear
                else "; the slope is not distinguishable from zero there: the constant part outweighs what the cache "
                "adds at these lengths"
            )
            + f". {_beyond(one.with_cache)} {_overhead(one)} Without the cache, a + b S + c S² has "
            f"R² {_figure(one.without_cache.r2)}. {_beyond(one.without_cache)} {_growth(one)}"
        )
    return "\n\n".join(sentences)


def crossover_paragraph(targets: Sequence[TargetCurves]) -> str:
    """From which context the cache pays off."""
    sentences = []
    for one in targets:
        crossover = one.crossover
        first, last = one.latency[0], one.latency[-1]
        if crossover.s is not None:
            text = f"the cache pays off from S = {crossover.s:.0f}; below, handling it costs more than it saves."
        elif crossover.reason == "cache faster everywhere":
            text = (
                f"no crossover: the cache is faster at every S measured, {_ratio(first)} times at S = {first.s} "
                f"and {_ratio(last)} times at S = {last.s}."
            )
        else:
            text = f"no crossover: {crossover.reason}."
        if crossover.overlapping_s:
            text += (
                f" At S = {_list(crossover.overlapping_s)} the intervals overlap, so that the order of the medians "
                "proves nothing there."
            )
        if crossover.too_few_s:
            text += f" At S = {_list(crossover.too_few_s)} there are too few repeats for an interval."
        sentences.append(f"**{label(one)}**: {text}")
    return "\n\n".join(sentences)


def method_paragraph(curves: CurvesResult) -> str:
    """What was done, with the numbers of this run."""
    plan = curves.plan
    fewest = min(
        min(point.per_token_ms_with_cache.n, point.per_token_ms_without_cache.n)
        for one in curves.targets
        for point in one.latency
    )
    rates = "; ".join(
        f"{label(one)}: copy {number(one.theory.copy_bytes_per_s / 1e9, 3)} GB/s, float32 matrix product "
        f"{number(one.theory.gemm_flop_per_s / 1e9, 3)} GFLOP/s"
        for one in curves.targets
    )
    return (
        f"All contexts and both modes took turns for {plan.repeats} rounds in an order that rotates, in a process of "
        f"its own pinned to one core where the system allows it, after up to {plan.warmups} warm-ups each; prefill is "
        f"never timed. The repeats of one point may take {plan.point_budget_s:g} s together, so the slowest point has "
        f"{fewest}. A step shorter than 50 ms is run once untimed before each timed one. Medians stand with their "
        "exact 95% order-statistic intervals where there are at least 6 repeats. Laws are fitted by least squares in "
        f"relative error to S <= {plan.fit_up_to} and tried on the longer contexts; their intervals are 95%, from the "
        f"residuals. Theory uses rates measured in the same process ({rates}). Both engines keep the cache in float32."
    )


def memory_table(targets: Sequence[TargetCurves]) -> Table:
    """Every memory point. [byte]."""
    headers = (
        "decoder",
        "S",
        "capacity",
        "allocated [B]",
        "theory [B]",
        "in pages [B]",
        "resident growth [B]",
        "filled by",
    )
    rows = tuple(
        (
            label(one),
            point.s,
            point.capacity,
            point.bytes_allocated,
            point.theory_bytes,
            point.page_bytes,
            point.rss_growth_bytes,
            point.filled_by,
        )
        for one in targets
        for point in one.memory
    )
    return Table(headers=headers, rows=rows)


def latency_table(targets: Sequence[TargetCurves]) -> Table:
    """Every latency point with its interval, repeats and theory. [ms]."""
    headers = (
        "decoder", "S", "with cache [ms]", "n", "theory [ms]", "without cache [ms]", "n", "theory [ms]",
        "without / with",
    )  # fmt: skip
    rows = []
    for one in targets:
        for point in one.latency:
            having, without = point.per_token_ms_with_cache, point.per_token_ms_without_cache
            rows.append(
                (
                    label(one),
                    point.s,
                    _estimate(having.median, having.low, having.high),
                    having.n,
                    number(point.theory_ms_with_cache, 3),
                    _estimate(without.median, without.low, without.high),
                    without.n,
                    number(point.theory_ms_without_cache, 3),
                    _ratio(point),
                )
            )
    return Table(headers=headers, rows=tuple(rows))


def law_table(targets: Sequence[TargetCurves]) -> Table:
    """Coefficients with their intervals beside theory, R² and the errors on unseen contexts."""
    headers = ("decoder", "coefficient", "fitted", "theory", "R²", "errors on longer contexts")
    rows = []
    for one in targets:
        theory = {
            "alpha_ms": one.theory.weight_ms,
            "beta_ms_per_token": one.theory.beta_ms_per_token,
            "a_ms": None,
            "b_ms_per_token": one.theory.b_ms_per_token,
            "c_ms_per_token2": one.theory.c_ms_per_token2,
        }
        for law in (one.with_cache, one.without_cache):
            errors = ", ".join(f"{_signed(e.relative_error)} at S = {e.s}" for e in law.extrapolations)
            for index, coefficient in enumerate(law.coefficients):
                figure = theory[coefficient.name]
                rows.append(
                    (
                        label(one),
                        coefficient.name,
                        _estimate(coefficient.value, coefficient.low, coefficient.high),
                        None if figure is None else number(figure, 3),
                        None if index else law.r2,
                        None if index or not errors else errors,
                    )
                )
    return Table(headers=headers, rows=tuple(rows))


def _differences(error: float | None) -> str:
    if error is None:
        return "All capacities measured were the same, so nothing can be said of the growth."
    return (
        "Differences between capacities match 2 L H_kv d_h S B s "
        + (f"within 10% (largest error {_percent(error)})" if error <= NEAR else f"only to {_percent(error)}")
        + "; the constant beside the cache is compute buffers."
    )


def _beyond(law: Law) -> str:
    worst = law.max_extrapolation_error
    if worst is None:
        return "No longer context was measured to try it on."
    tried = ", ".join(f"{_signed(e.relative_error)} at S = {e.s}" for e in law.extrapolations)
    return f"Beyond the fit it errs by {tried}, {'within' if worst <= NEAR else 'not within'} 10%."


def _overhead(one: TargetCurves) -> str:
    theory = one.theory
    alpha = one.with_cache.coefficients[0].value
    parts = (
        f"Streaming {number(one.model.read_bytes / 1e6, 4)} MB of weights at the copy bandwidth takes "
        f"{number(theory.weight_ms, 3)} ms of alpha's {number(alpha, 3)} ms"
    )
    if theory.overhead_ms >= 0:
        return f"{parts}; the other {number(theory.overhead_ms, 3)} ms are overhead."
    return f"{parts}: the weights come faster than a copy moves memory, from a cache or by reading alone."


def _growth(one: TargetCurves) -> str:
    """Is it quadratic yet, by the arithmetic and by the measured slope in log-log."""
    threshold = one.theory.quadratic_overtakes_s
    last = one.latency[-1]
    text = (
        f"The quadratic part of the arithmetic overtakes the linear one at S = {number(threshold, 4)} in this shape, "
        f"{'inside' if threshold <= last.s else 'outside'} the range measured"
    )
    quadratic = one.without_cache.coefficients[2]
    if quadratic.low is not None and quadratic.low > 0:
        return f"{text}; the fitted c is clear of zero."
    return f"{text}; the fitted c is not distinguishable from zero, so a growth as S² is not shown below the fit's end."


def _floor_kib(one: TargetCurves) -> float:
    return min(point.page_bytes or 0 for point in one.memory) / 1024


def _ratio(point: LatencyPoint) -> str:
    return number(point.per_token_ms_without_cache.median / point.per_token_ms_with_cache.median, 3)


def _estimate(value: float, low: float | None, high: float | None) -> Estimate | str:
    if low is None or high is None:
        return number(value, 3)
    return Estimate(value=value, low=low, high=high)


def _list(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))


def _figure(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%"


def _signed(value: float) -> str:
    return f"{100 * value:+.1f}%"
