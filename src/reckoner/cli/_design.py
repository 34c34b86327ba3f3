"""Options that name a design and a workload, shared by the verbs that predict."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from reckoner.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

Command = TypeVar("Command", bound=Callable[..., Any])

NUMBERS = {
    "batch": ("-b", "--batch", "Sequences that a replica works on at once."),
    "prompt_tokens": ("--prompt", None, "Tokens in."),
    "output_tokens": ("--output", None, "Tokens out."),
    "tp": ("--tp", None, "Devices that share each layer."),
    "pp": ("--pp", None, "Devices that share the stack of layers."),
    "ep": ("--ep", None, "Devices that share the experts."),
    "dp": ("--dp", None, "Groups of tp devices that split the batch and share the experts."),
    "replicas": ("--replicas", None, "Copies of the whole."),
    "prefill_replicas": ("--prefill-replicas", None, "Servers apart that read prompts for the replicas."),
    "prefill_tp": ("--prefill-tp", None, "Devices of each of those; by default as the replicas."),
    "kv_link_bytes_per_s": ("--kv-link", None, "Bytes/s at which a device ships caches, such as 50e9."),
    "draft_tokens": ("--draft-tokens", None, "Speculation: tokens drafted for each verification."),
    "acceptance": ("--acceptance", None, "Probability that a drafted token is accepted."),
    "draft_share": ("--draft-share", None, "Time of drafting a token over a plain step's."),
    "token_budget": ("--token-budget", None, "Tokens of a pass at most; longer prompts are read in chunks."),
    "requests_per_s": ("--rate", None, "Requests that arrive per second; by default each place is always filled."),
    "prefix_hit": ("--prefix-hit", None, "Share of the prompt found in the cache."),
}
WORDS = {
    "weights": ("--weights", "Number format of the weights, such as fp8."),
    "kv": ("--kv", "Number format of the KV cache."),
    "compute": ("--compute", "Type of the matrix products; by default what suits the weights and the device has."),
    "engine": ("--engine", "Engine that serves; by default the usual one of the kind of device."),
    "engine_version": ("--engine-version", "Its version."),
    "scheduler": ("--scheduler", "continuous or static."),
}


WORKLOAD = ("prompt_tokens", "output_tokens", "requests_per_s", "prefix_hit")


def design_options(*, lists: bool) -> Callable[[Command], Command]:
    """Add the options; with ``lists`` each takes values separated by commas."""

    def add(command: Command) -> Command:
        for name, (flag, text) in reversed(WORDS.items()):
            command = click.option(flag, name, help=text)(command)
        for name, (flag, other, text) in reversed(NUMBERS.items()):
            flags = [flag] if other is None else [flag, other]
            command = click.option(*flags, name, type=str if lists else float, help=text)(command)
        text = "Small models that draft." if lists else "Small model that drafts on the same devices."
        return click.option("--draft", help=text)(command)

    return add


def console() -> Console:
    """Return a console on stdout that wraps to the terminal, and to 120 columns where there is none."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 120)


def given(options: dict[str, Any], names: Any) -> dict[str, Any]:
    """Options that were set, of those named."""
    return {name: options[name] for name in names if options[name] is not None}


def numbers(name: str, text: str) -> list[float]:
    """Read numbers separated by commas.

    Raises
    ------
    InputError
        One of them is no number.

    >>> numbers("batch", "1,8,64")
    [1.0, 8.0, 64.0]
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(
            f"--{name.replace('_', '-')} is {text!r}; give numbers separated by commas, such as 1,8,64"
        ) from error


def words(text: str) -> list[str]:
    """Read words separated by commas.

    >>> words("h100, a100")
    ['h100', 'a100']
    """
    return [part.strip() for part in text.split(",")]
