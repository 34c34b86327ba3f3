"""The command line: one file a verb, each loaded only when it is called.

Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 a check failed, 2 bad input.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module

import click

from reckoner._version import __version__
from reckoner.errors import ReckonerError

# verb -> (module:command, the one-line help shown in the listing); a test holds each line equal to the command's own.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": (
        "reckoner.cli.demo:command",
        "Register, grade, measure and price real models here; write out/report.html.",
    ),
    "predict": (
        "reckoner.cli.predict:command",
        "Predict latency, throughput, memory and energy of one design.",
    ),
    "sweep": ("reckoner.cli.sweep:command", "Predict every combination of models, devices, formats and numbers."),
    "simulate": (
        "reckoner.cli.simulate:command",
        "Simulate requests on one design: percentiles with intervals, goodput, load over time.",
    ),
    "capacity": (
        "reckoner.cli.capacity:command",
        "Find the largest rate that meets an SLO, or the fewest devices for a load.",
    ),
    "audit": (
        "reckoner.cli.audit:command",
        "Hold a deployment over cloud, edge, mobile and TinyML against its SLO.",
    ),
    "measure": (
        "reckoner.cli.measure:command",
        "Measure an OpenAI-compatible endpoint, or the client itself.",
    ),
    "devices": (
        "reckoner.cli.devices:command",
        "List devices with dense peaks, or show one with source, date and prices.",
    ),
    "models": (
        "reckoner.cli.models:command",
        "List built-in models, or show one (or a config.json) with exact counts.",
    ),
    "app": ("reckoner.cli.app:command", "Open the pages in the browser: audit, curves, prices, forecasts, ledger."),
    "answer": ("reckoner.cli.answer:command", "Predict every row of a file of items, with 90 % intervals."),
    "validate": (
        "reckoner.cli.validate:command",
        "Score predictions on public measurements: same cells, new models, devices and sources.",
    ),
    "registry": (
        "reckoner.cli.registry:command",
        "Keep model versions by content: register, name, withdraw, verify.",
    ),
    "evaluate": ("reckoner.cli.evaluate:command", "Grade a registered version on a probe set, slice by slice."),
    "curves": (
        "reckoner.cli.curves:command",
        "Measure KV-cache memory and decode latency against context length.",
    ),
    "cpqu": ("reckoner.cli.cpqu:command", "Derive the price table from frozen inputs."),
    "record": ("reckoner.cli.record:command", "Commit predictions, outcomes and decisions to the ledger."),
    "forecast": ("reckoner.cli.forecast:command", "Forecast a request from what the ledger has seen."),
    "calibrate": ("reckoner.cli.calibrate:command", "Learn every outcome in the ledger and keep what was learned."),
    "score": ("reckoner.cli.score:command", "Score every predictor in the ledger: error, bias, coverage."),
    "fit": ("reckoner.cli.fit:command", "Fit seconds per token to request logs, where they lie."),
    "import": (
        "reckoner.cli.import_:command",
        "Read and audit result files of other load generators.",
    ),
    "compare": ("reckoner.cli.compare:command", "Compare two runs: differences with intervals."),
    "ledger": ("reckoner.cli.ledger:command", "Look at the ledger, check it, export, import, seal."),
}


class LazyGroup(click.Group):
    """A group that imports a verb's module only when that verb is called or asked for its help."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Verbs in the order in which a newcomer meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return the verb, or None when there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the verbs without importing them."""
        if COMMANDS:
            with formatter.section("Commands"):
                formatter.write_dl([(verb, line) for verb, (_, line) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; an unknown one gets its near misses."""
        from reckoner.errors import UnknownNameError

        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise UnknownNameError.of("command", args[0], COMMANDS)
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="reckoner")
def group() -> None:
    """What it costs to serve a language model, known before you pay for it."""


def main() -> None:
    """Run the command line and turn errors into one line and an exit code."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `reckoner ... | head` ends quietly
    try:
        code = group.main(standalone_mode=False)
    except ReckonerError as error:
        click.secho(f"reckoner: {error}", fg="red", err=True)
        sys.exit(2)
    except OSError as error:  # a name too long, a folder that may not be read: no verb need foresee each
        click.secho(f"reckoner: {error}; check the path, its rights and the free space", fg="red", err=True)
        sys.exit(2)
    except MemoryError as error:
        click.secho(f"reckoner: not enough memory: {error}; ask for less, or free some", fg="red", err=True)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.secho("reckoner: interrupted; what was finished is kept, start again to go on", fg="yellow", err=True)
        sys.exit(2)
    if sys.stdout is not None:  # None when the caller closed it: `reckoner ... >&-`
        sys.stdout.flush()
    sys.exit(code if isinstance(code, int) else os.EX_OK)
