"""``reckoner app``: the pages in the browser."""

from __future__ import annotations

from pathlib import Path

import click

from reckoner.cli._ledger import ledger_option

PORT = 8763


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="Port of this machine; 0 is any."
)
@click.option("--no-browser", is_flag=True, help="Print the address and open nothing.")
@click.option(
    "--curves",
    type=click.Path(path_type=Path),
    default=Path("experiments/kv-cost"),
    show_default=True,
    help="Folder that reckoner curves wrote.",
)
@click.option(
    "--prices",
    type=click.Path(path_type=Path),
    default=Path("experiments/finops"),
    show_default=True,
    help="Folder with cost_inputs.json.",
)
@ledger_option
def command(port: int, no_browser: bool, curves: Path, prices: Path, url: str) -> None:
    """Open the pages in the browser: audit, curves, prices, forecasts, ledger.

    They are served on this machine only, load nothing from elsewhere, and need no account. Ctrl-C ends them.

    \b
    Example:
      reckoner app
      reckoner app --port 0 --no-browser --ledger team.db
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    from reckoner.ledger import Ledger
    from reckoner.web.serve import serve
    from reckoner.web.visit import Sources

    Ledger.open(url).close()  # a ledger that cannot be used is told now, not on a page

    def ready(address: str) -> None:
        click.echo(address)
        click.echo("Ctrl-C ends the server", err=True)
        if not no_browser:
            click.launch(address)

    serve(Sources(ledger=url, curves=curves, prices=prices), port=port, ready=ready)
