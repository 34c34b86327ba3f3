"""How requests come to ``reckoner measure``, how long each is, and what is seen meanwhile."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reckoner.errors import InputError

if TYPE_CHECKING:
    from reckoner.measure.session import Shape
    from reckoner.measure.wire.address import Address
    from reckoner.simulate.arrivals import Arrivals

Asked = list[tuple[int, int]]
PIECE = re.compile(rb'"(?:content|text|reasoning|reasoning_content)" ?: ?"[^"]')
"""A read that brings text: what comes before, such as the role, is no token on the screen either."""


def load_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what says how requests come."""
    options: list[Callable[[Any], Any]] = [
        click.option("-n", "requests", type=click.IntRange(1), default=100, show_default=True, help="Requests."),
        click.option("-c", "--concurrency", type=click.IntRange(1), help="Closed loop: so many in flight."),
        click.option("--think", "think_s", type=float, default=0.0, help="Pause before the next one, in seconds."),
        click.option("--rate", "rates", help="Open loop: requests per second; several, separated by commas, in turn."),
        click.option("--burst", type=float, default=1.0, show_default=True, help="Spread of gaps: 0 even, 1 Poisson."),
        click.option("--ramp", help="Open loop whose rate goes from A to B requests per second, such as 1:20."),
        click.option("--trace", type=click.Path(dir_okay=False, path_type=Path), help="Replay .csv, .jsonl, .parquet."),
        click.option(
            "--turns", type=click.IntRange(1), default=1, show_default=True,
            help="Turns of a conversation; --rate is then that of conversations, -n counts them.",
        ),
        click.option("--prompt", "prompt_tokens", type=click.IntRange(1), default=128, show_default=True),
        click.option("--output", "output_tokens", type=click.IntRange(1), default=64, show_default=True),
        click.option("--shared", "shared_tokens", type=click.IntRange(0), default=0, help="Tokens all prompts share."),
        click.option("--warmup", type=click.IntRange(0), default=0, show_default=True, help="First requests to skip."),
        click.option(
            "--seed", type=click.IntRange(0),
            help="Of arrivals and words; by default a new one, which the result names: no cache knows its prompts.",
        ),
        click.option(
            "--goal", type=float, default=0.02, show_default=True, help="Half width of a mean that is enough."
        ),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def seed_of(options: dict[str, Any]) -> int:
    """Seed as given, or a new one."""
    return int(options["seed"]) if options["seed"] is not None else secrets.randbelow(2**32)


def shape_of(rate: float | None, options: dict[str, Any]) -> tuple[Shape, Asked]:
    """How requests come, and how long each is."""
    from reckoner.measure.session import Shape
    from reckoner.simulate.arrivals import gamma, ramp, sessions
    from reckoner.simulate.lengths import fixed
    from reckoner.simulate.traces import replay

    given = [name for name in ("concurrency", "rates", "ramp", "trace") if options[name] is not None]
    if len(given) > 1 and not options["find_rate"]:
        raise InputError("--concurrency, --rate, --ramp and --trace each say how requests come; give one of them")
    if options["turns"] > 1 and rate is None:
        raise InputError("--turns takes --rate, that of conversations")
    n, lengths = options["requests"], fixed(options["prompt_tokens"], options["output_tokens"])
    if options["concurrency"] is not None or (rate is None and not given):
        asked = [(options["prompt_tokens"], options["output_tokens"])] * n
        return Shape(concurrency=options["concurrency"] or 1, think_s=options["think_s"]), asked
    if options["trace"] is not None:
        arrivals = replay(options["trace"])
    elif options["ramp"] is not None:
        ends = numbers("--ramp", options["ramp"].replace(":", ","))
        if len(ends) != 2:
            raise InputError(f"--ramp is {options['ramp']!r}; give two rates, such as 1:20")
        arrivals = ramp(ends[0], ends[1], lengths, n=n, seed=options["seed"])
    elif options["turns"] > 1:
        assert rate is not None  # asked for above
        arrivals = sessions(
            rate, lengths, n=n, seed=options["seed"], turns=options["turns"], think_s=options["think_s"]
        )
    else:
        assert rate is not None  # nothing else is left
        arrivals = gamma(rate, lengths, n=n, seed=options["seed"], cv=options["burst"])
    return open_shape(arrivals)


def open_shape(arrivals: Arrivals) -> tuple[Shape, Asked]:
    """Arrivals as a load: what follows an answer waits for it, then pauses."""
    import numpy as np

    from reckoner.measure.session import Shape

    times = arrivals.arrival_s - float(arrivals.arrival_s.min())
    before = np.full(len(arrivals), -1)
    if arrivals.follows is not None:
        rows = np.flatnonzero(arrivals.follows >= 0)
        before[arrivals.follows[rows]] = rows
        times[before >= 0] = 0.0 if arrivals.gap_s is None else arrivals.gap_s[before[before >= 0]]
    asked = list(zip(arrivals.prompt_tokens.tolist(), arrivals.output_tokens.tolist(), strict=True))
    return Shape(arrival_s=times.tolist(), follows=before.tolist()), asked


def prompts(
    address: Address, served: str, asked: Asked, shape: Shape, options: dict[str, Any], run: int
) -> tuple[list[str], str]:
    """Prompts of the lengths asked for, and who counts; another run has other words."""
    from reckoner.measure.prompts import counting_of, prompts_of
    from reckoner.measure.wire.load import Patience

    counting = counting_of(address, served, seed=options["seed"], patience=Patience(stall_s=options["stall_s"]))
    found = prompts_of(
        counting, [prompt for prompt, _ in asked], seed=[options["seed"], run],
        shared_tokens=options["shared_tokens"], follows=shape.follows,
    )  # fmt: skip
    return found, counting.by


def numbers(flag: str, text: str) -> list[float]:
    """Rates separated by commas."""
    from reckoner.cli._design import numbers as numbers_of

    found = numbers_of(flag, text)
    if any(not 0.0 < value < 1e6 for value in found):
        raise InputError(f"{flag} is {text!r}; rates are above 0 and below a million per second")
    return found


class Live:
    """What happens meanwhile: one line on stderr, in place on a terminal, now and then in a pipe; and the journal.

    A line and not a panel: it is written inside the loop that sends and reads, and takes 0.1 ms where a panel takes 5.
    """

    def __init__(self, total: int, journal: Any) -> None:
        import sys
        import time

        self.total, self.journal, self.clock = total, journal, time.monotonic
        self.terminal = sys.stderr.isatty()
        self.every_s = 0.5 if self.terminal else 10.0
        self.began = self.last = time.monotonic()
        self.done = self.bad = 0
        self.firsts: list[float] = []
        self.gaps: list[float] = []

    def see(self, seen: Any, in_flight: int) -> None:
        """Take note of a request that ended; cheap, for it runs inside the loop."""
        self.done += 1
        self.bad += bool(seen.state or seen.why or seen.head is None or seen.head.status != 200)
        times = seen.user_ns
        first = next((row for row, data in enumerate(seen.reads) if PIECE.search(data)), None)
        if first is not None:
            self.firsts.append((times[first] - seen.sent_ns) * 1e-6)
            if len(times) > first + 3:  # the last read is the end of the stream
                self.gaps.append((times[-2] - times[first]) * 1e-6 / (len(times) - 2 - first))
        if self.journal is not None:
            self.journal.add({
                "index": seen.index, "scheduled_ns": seen.scheduled_ns, "sent_ns": seen.sent_ns, "state": seen.state,
                "why": seen.why, "reads": seen.reads, "kernel_ns": seen.kernel_ns, "user_ns": seen.user_ns,
            })  # fmt: skip
        now = self.clock()
        if now - self.last > self.every_s:
            self.last = now
            start, end = ("\r", "\x1b[K") if self.terminal else ("", "\n")
            click.echo(f"{start}{self.line(now, in_flight)}{end}", nl=False, err=True)

    def line(self, now: float, in_flight: int) -> str:
        """Where the run stands."""
        rate = self.done / max(now - self.began, 1e-9)
        return (
            f"{self.done}/{self.total} answered, {in_flight} in flight, {rate:.3g}/s, {self.bad} failed  "
            f"TTFT {bars(self.firsts[-200:])} ms  ITL {bars(self.gaps[-200:])} ms"
        )

    def close(self) -> None:
        """End the line."""
        if self.journal is not None:
            self.journal.close()
        if self.terminal:
            click.echo("\r\x1b[K", nl=False, err=True)


def bars(values: list[float]) -> str:
    """Histogram of values in one line, between its ends.

    >>> bars([1.0, 1.0, 2.0])
    '1 █          ▄ 2'
    """
    if not values:
        return "-"
    low, high = min(values), max(values)
    counts = [0] * 12
    for value in values:
        counts[min(int((value - low) / max(high - low, 1e-9) * 12), 11)] += 1
    most = max(counts)
    return f"{low:.3g} " + "".join(" ▁▂▃▄▅▆▇█"[-(-8 * c // most)] for c in counts) + f" {high:.3g}"
