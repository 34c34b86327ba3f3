"""``reckoner forecast``: what a request will take, from what the ledger has seen."""

from __future__ import annotations

import uuid

import click

from reckoner.cli._ledger import json_option, ledger_option, opened, print_json, progress

_LONG = 20_000  # outcomes to learn before a forecast, above which learning once and for all is worth a hint


@click.command()
@click.argument("model")
@click.option("-p", "--prompt-tokens", type=int, required=True, help="Tokens of the prompt.")
@click.option("-c", "--completion-tokens", type=int, help="Tokens to be generated; leave out where unknown.")
@click.option("--level", type=float, default=0.9, show_default=True, help="Probability of the interval.")
@click.option("--commit", is_flag=True, help="Commit the forecast, so that its outcome scores it.")
@click.option("--id", "subject", help="Id of the request; with --commit, made up where none is given.")
@ledger_option
@json_option
def command(
    model: str,
    prompt_tokens: int,
    completion_tokens: int | None,
    level: float,
    commit: bool,
    subject: str | None,
    url: str,
    as_json: bool,
) -> None:
    """Forecast a request from what the ledger has seen.

    \b
    Example:
      reckoner forecast llama-3.1-8b -p 512 -c 128
      reckoner forecast llama-3.1-8b -p 512 --commit --id req-1
      reckoner record request llama-3.1-8b -p 512 -c 128 --ms 3400 --id req-1
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    from reckoner.workbench.memory import Memory

    with opened(url, create=True) as ledger, Memory(ledger) as memory:
        with progress("learning what is new", len(ledger)) as done:
            learned = memory.catch_up(done)
        if learned > _LONG:
            click.echo(f"learned {learned} outcomes for this; 'reckoner calibrate' keeps what was learned", err=True)
        name = (subject or f"request-{uuid.uuid4().hex[:12]}") if commit else None
        made = memory.forecast(model, prompt_tokens, completion_tokens, level=level, commit=name)
    if as_json:
        print_json(made.to_json())
        return
    click.echo(
        f"{made.e2e_s:.3g} s, {100 * made.level:g}% within {made.low_s:.3g} to {made.high_s:.3g} s "
        f"({made.status}, {made.sample_count} outcomes)"
    )
    if made.id is not None:
        click.echo(f"committed as {made.id}; its outcome: reckoner record request ... --id {made.subject}", err=True)
