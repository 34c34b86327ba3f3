"""Hourly prices of devices: who asks how much, where it was read and when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cache

from reckoner.catalogue._entries import entries
from reckoner.errors import InputError, MissingFigureError

SELF_HOSTED = "self-hosted"
"""Provider of notional rates of hardware that one owns; a choice, not a quotation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What one device costs an hour at one provider.

    Parameters
    ----------
    usd_per_hour : float
        Median of the listings. [USD/h]
    usd_low, usd_high : float
        Cheapest and dearest listing or region. [USD/h]
    spot : bool
        Interruptible.
    n_listings, n_regions : int
        How many listings and regions the median is of; 0 regions where the source names none.
    valid_from, valid_to : date
        First and last day on which the price was seen.
    """

    device: str
    provider: str
    usd_per_hour: float
    usd_low: float
    usd_high: float
    spot: bool
    n_listings: int
    n_regions: int
    valid_from: date
    valid_to: date
    source: str
    note: str = ""

    def __post_init__(self) -> None:
        """Hold the invariants of a price."""
        if not 0 < self.usd_low <= self.usd_per_hour <= self.usd_high:
            raise InputError(
                f"rate of {self.device} at {self.provider}: {self.usd_low:g}, {self.usd_per_hour:g}, "
                f"{self.usd_high:g} USD/h; low, median and high must be positive and in order"
            )
        if self.valid_to < self.valid_from:
            raise InputError(
                f"rate of {self.device} at {self.provider}: valid_to {self.valid_to} is before {self.valid_from}"
            )


@cache
def load_rates(canonical_device: str) -> tuple[Rate, ...]:
    """All rates of one device, by provider, on demand before spot; empty when there are none.

    >>> {rate.provider for rate in load_rates("nvidia-h100-sxm")} >= {"aws", "gcp"}
    True
    """
    prices = entries("device with a rate", "rates.toml")
    if not prices.has(canonical_device):
        return ()
    raw = prices.parse(canonical_device)
    sources = raw["sources"]
    rates = [
        Rate(
            device=canonical_device,
            provider=row["provider"],
            usd_per_hour=row["median"],
            usd_low=row["low"],
            usd_high=row["high"],
            spot=row["spot"],
            n_listings=row["listings"],
            n_regions=row["regions"],
            valid_from=row["from"],
            valid_to=row["to"],
            source=sources[row["source"]],
            note=row.get("note", ""),
        )
        for row in raw["rates"]
    ]
    return tuple(sorted(rates, key=lambda rate: (rate.provider, rate.spot)))


def pick_rate(canonical_device: str, provider: str | None, spot: bool) -> Rate:
    """One rate: of the provider, or the median one of all providers that rent it out.

    Raises
    ------
    MissingFigureError
        Nobody asks such a price; those who do are listed.
    """
    every = load_rates(canonical_device)
    chosen = [rate for rate in every if rate.spot == spot and provider in (None, rate.provider)]
    if provider is None:
        rented = [rate for rate in chosen if rate.provider != SELF_HOSTED]
        chosen = rented or chosen
    if not chosen:
        present = ", ".join(f"{rate.provider}{' (spot)' if rate.spot else ''}" for rate in every) or "none"
        wanted = f"{'spot' if spot else 'on-demand'} rate{'' if provider is None else f' at {provider}'}"
        raise MissingFigureError(f"{canonical_device} has no {wanted}; present: {present}")
    chosen.sort(key=lambda rate: (rate.usd_per_hour, rate.provider))
    # the lower middle: a price that somebody does ask
    return chosen[(len(chosen) - 1) // 2]
