"""Figures of the cost curves: memory and decode latency against context length, theory beside measurement."""

from __future__ import annotations

from reckoner.measure.curve_results import TargetCurves, constant_bytes
from reckoner.measure.fits import Law
from reckoner.report.chart import Annotation, Chart, Series, table_of

ENGINES = {"numpy": "NumPy", "llamacpp": "llama.cpp"}
MIB = 2.0**20
_X = "context S [token]"


def label(curves: TargetCurves) -> str:
    """The decoder and its engine in words."""
    return f"{curves.target.name} on {ENGINES[curves.target.engine]}"


def memory_chart(curves: TargetCurves) -> Chart:
    """Cache allocated (flat), theory for the part in use, and what the process really grew by."""
    if curves.target.engine == "llamacpp":
        return _llama_memory_chart(curves)
    x = tuple(float(point.s) for point in curves.memory)
    allocated = tuple(_mib(point.bytes_allocated) for point in curves.memory)
    series = (
        Series(name="cache allocated", x=x, y=allocated, style="line", tone=0),
        Series(
            name="theory: 2 L H_kv d_h S B s",
            x=x,
            y=tuple(_mib(point.theory_bytes) for point in curves.memory),
            style="dotted",
            tone=1,
        ),
        Series(
            name="theory in whole pages",
            x=x,
            y=tuple(_mib(point.page_bytes) for point in curves.memory),
            style="dotted",
            tone=3,
        ),
        Series(
            name="resident growth, measured",
            x=x,
            y=tuple(_positive_mib(point.rss_growth_bytes) for point in curves.memory),
            style="dots",
            tone=2,
        ),
    )
    top = allocated[0] or 1.0
    heights = [y for one in series for y in one.y if y is not None]
    return Chart(
        name=f"memory-{curves.target.key}",
        title=f"KV cache memory: {label(curves)}",
        x_title=_X,
        y_title="MiB",
        series=series,
        caption="The cache is taken whole at the start; what becomes resident follows the tokens, page by page. Each "
        "dot is a process of its own.",
        table=table_of(_X, series),
        log_x=True,
        log_y=True,
        # Room above the flat line for its note.
        y_range=(min(heights) / 1.5, top * 3),
        annotations=(
            Annotation(text="pre-allocation hides the growth: the cache is constant-size by design", x=x[0], y=top),
        ),
    )


def _llama_memory_chart(curves: TargetCurves) -> Chart:
    """llama.cpp fills its cache at start: theory is of the whole capacity, the rest are its buffers."""
    x = tuple(float(point.s) for point in curves.memory)
    buffers = constant_bytes(curves.memory)
    series = (
        Series(
            name="theory: the whole cache, filled at start",
            x=x,
            y=tuple(_mib(point.theory_bytes) for point in curves.memory),
            style="dotted",
            tone=1,
        ),
        Series(
            name="resident growth, measured",
            x=x,
            y=tuple(_positive_mib(point.rss_growth_bytes) for point in curves.memory),
            style="dots",
            tone=2,
        ),
        Series(
            name="the same less the buffers beside the smallest cache",
            x=x,
            y=tuple(_positive_mib(point.rss_growth_bytes - buffers) for point in curves.memory),
            style="dots",
            tone=0,
        ),
    )
    return Chart(
        name=f"memory-{curves.target.key}",
        title=f"KV cache memory: {label(curves)}",
        x_title=_X,
        y_title="MiB",
        series=series,
        caption="llama.cpp rounds the context up to 256 tokens and writes the whole cache at start; its compute "
        "buffers add a constant, taken off in the lower dots. Each dot is a process of its own.",
        table=table_of(_X, series),
        log_x=True,
        log_y=True,
    )


def latency_chart(curves: TargetCurves) -> Chart:
    """One decode step with and without the cache: medians with intervals, the fitted laws and theory's lower bounds."""
    x = tuple(float(point.s) for point in curves.latency)
    having = [point.per_token_ms_with_cache for point in curves.latency]
    without = [point.per_token_ms_without_cache for point in curves.latency]
    fitted = max(curves.with_cache.fitted_s)
    series = (
        Series(
            name="with cache",
            x=x,
            y=tuple(one.median for one in having),
            low=tuple(one.low for one in having),
            high=tuple(one.high for one in having),
            style="line+dots",
            tone=0,
        ),
        Series(
            name="without cache",
            x=x,
            y=tuple(one.median for one in without),
            low=tuple(one.low for one in without),
            high=tuple(one.high for one in without),
            style="line+dots",
            tone=1,
        ),
        _fit(f"alpha + beta S, fitted to S <= {fitted}", curves.with_cache, x, 0),
        _fit(f"a + b S + c S², fitted to S <= {fitted}", curves.without_cache, x, 1),
        Series(
            name="theory with cache: bytes / bandwidth",
            x=x,
            y=tuple(point.theory_ms_with_cache for point in curves.latency),
            style="dotted",
            tone=2,
        ),
        Series(
            name="theory without: FLOPs / rate",
            x=x,
            y=tuple(point.theory_ms_without_cache for point in curves.latency),
            style="dotted",
            tone=3,
        ),
    )
    if curves.crossover.s is None:
        middle = curves.latency[len(curves.latency) // 2]
        mark = Annotation(text=f"no crossover: {curves.crossover.reason}", x=float(middle.s), y=having[-1].median)
    else:
        mark = Annotation(text=f"crossover at S = {curves.crossover.s:.0f}", x=curves.crossover.s)
    return Chart(
        name=f"latency-{curves.target.key}",
        title=f"One decode step: {label(curves)}",
        x_title=_X,
        y_title="ms per token",
        series=series,
        caption="Medians with 95% intervals (exact, distribution-free) where there are enough repeats; dotted: the "
        "laws fitted to the short contexts, and theory from sizes and this machine's own rates.",
        table=table_of(_X, series),
        log_x=True,
        log_y=True,
        annotations=(mark,),
    )


def _fit(name: str, law: Law, x: tuple[float, ...], tone: int) -> Series:
    # A law can fall below zero outside its points; a logarithmic axis has no place for that.
    values = [law.predict(s) for s in x]
    return Series(name=name, x=x, y=tuple(v if v > 0 else None for v in values), style="dotted", tone=tone)


def _mib(size: int | None) -> float | None:
    return None if size is None else size / MIB


def _positive_mib(size: float) -> float | None:
    return size / MIB if size > 0 else None
