"""Why a measurement differs from its prediction: the likeliest cause, from what both say."""

from __future__ import annotations

from dataclasses import dataclass

FAR = 1.5  # ratio from which a gap asks for a cause. Assumption.


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A predicted figure beside a measured one.

    Parameters
    ----------
    metric, unit : str
        Such as "ttft_s", and its unit.
    predicted, predicted_low, predicted_high : float
        With the interval that measurements held out ask for.
    measured, measured_low, measured_high : float or None
        With its interval.
    """

    metric: str
    unit: str
    predicted: float
    predicted_low: float
    predicted_high: float
    measured: float
    measured_low: float | None
    measured_high: float | None

    @property
    def ratio(self) -> float:
        """Measured over predicted."""
        return self.measured / self.predicted

    @property
    def inside(self) -> bool:
        """Whether the prediction's interval holds what was measured."""
        return self.predicted_low <= self.measured <= self.predicted_high


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What else is known of a run.

    Parameters
    ----------
    client_bound : str
        Why the client's own error rivals the figures; empty where it does not.
    coalesced : float
        Share of tokens that came together with the one before.
    tokens_per_event : float
        Output tokens by text event.
    ttft_rises : float
        Mean TTFT of the last quarter over that of the second: a growing queue.
    failed : float
        Share of requests that failed.
    prefix_hit : float
        Share of prompt tokens that the server says it found in its prefix cache; 0 where it says nothing.
    accepted : float
        Drafted tokens that the server says it accepted, by output token; 0 where it says nothing.
    """

    client_bound: str
    coalesced: float
    tokens_per_event: float
    ttft_rises: float
    failed: float
    prefix_hit: float = 0.0
    accepted: float = 0.0


def cause(compared: dict[str, Compared], signs: Signs) -> str:
    """Name the likeliest cause of a gap; empty where there is none.

    Examples
    --------
    >>> fast = Compared(metric="ttft_s", unit="s", predicted=0.4, predicted_low=0.2, predicted_high=0.8, measured=0.02,
    ...                 measured_low=None, measured_high=None)
    >>> calm = Signs(client_bound="", coalesced=0.0, tokens_per_event=1.0, ttft_rises=1.0, failed=0.0)
    >>> cause({"ttft_s": fast}, calm)
    'prefix cache: first tokens come 20 times sooner than the prompt can be read'
    """
    ttft, tpot = compared.get("ttft_s"), compared.get("tpot_s")
    if signs.client_bound:
        return f"client bound: {signs.client_bound}"
    if signs.failed > 0.05:
        return f"failures: {100 * signs.failed:.0f} % of requests were not answered, so the others had the server alone"
    if ttft is not None and ttft.ratio < 1.0 / FAR and signs.prefix_hit > 0.1:
        return f"prefix cache: the server says that it held {100 * signs.prefix_hit:.0f} % of the prompts' tokens"
    if tpot is not None and tpot.ratio < 1.0 / FAR and signs.accepted > 0.1:
        return f"speculation: the server says that {100 * signs.accepted:.0f} % of output tokens were drafted"
    if ttft is not None and ttft.ratio < 1.0 / FAR and ttft.measured < ttft.predicted_low:
        return f"prefix cache: first tokens come {1.0 / ttft.ratio:.3g} times sooner than the prompt can be read"
    if tpot is not None and tpot.ratio < 1.0 / FAR and signs.tokens_per_event > 1.2:
        return (
            f"speculation: {signs.tokens_per_event:.2g} tokens come in one event, {1.0 / tpot.ratio:.3g} times as fast"
        )
    if ttft is not None and ttft.ratio > FAR and (signs.ttft_rises > 1.3 or tpot is None or tpot.ratio < FAR):
        rising = f", and they rise by {signs.ttft_rises:.2g} times over the run" if signs.ttft_rises > 1.3 else ""
        return f"queueing: first tokens take {ttft.ratio:.3g} times as long while gaps do not{rising}"
    far = [c for c in compared.values() if not c.inside and not 1.0 / FAR < c.ratio < FAR]
    if far:
        worst = max(far, key=lambda c: max(c.ratio, 1.0 / c.ratio))
        way = "slower" if (worst.ratio > 1.0) == (worst.unit == "s") else "faster"
        return (
            f"efficiency: {worst.metric} is {max(worst.ratio, 1.0 / worst.ratio):.3g} times {way} than devices like "
            "this were seen to be; `reckoner calibrate` learns it"
        )
    return ""
