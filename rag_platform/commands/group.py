"""How verbs end: every error a line on standard error, and an exit code that tells the truth."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from rag_platform.operations.explain import explain
from rag_platform.operations.terminal import printable

_INTERRUPTED = 130


class Reported(click.ClickException):
    """Problems that are printed a line each; the command exits 1."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems

    def show(self, file: Any = None) -> None:
        """On standard error, whatever else the command wrote."""
        for problem in self.problems:
            click.echo(f"error: {printable(problem)}", file=file, err=True)


class Cli(click.Group):
    """A group that turns every error into lines: a traceback only with --debug."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _no_interrupt_lost():
                return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):
            click.echo("interrupted", err=True)
            ctx.exit(_INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit, BrokenPipeError):
            raise
        except Exception as error:
            if ctx.params["debug"]:
                raise
            raise Reported(explain(error)) from error


@contextmanager
def _no_interrupt_lost() -> Iterator[None]:
    """Send an interrupt again that Python dropped.

    One that arrives while an object is finalized is raised there, where no exception can leave:
    Python prints it and goes on. Interrupts are what is no `Exception`, Dagster's among them.
    """
    usual = sys.unraisablehook
    main_thread = threading.main_thread().ident

    def send_again(lost: Any) -> None:
        if issubclass(lost.exc_type, Exception):
            usual(lost)
        else:
            # Later, and from another thread: from here it would be dropped like the first.
            threading.Timer(0.01, signal.pthread_kill, (main_thread, signal.SIGINT)).start()

    sys.unraisablehook = send_again
    try:
        yield
    finally:
        sys.unraisablehook = usual


class DefaultsToList(click.Group):
    """A group whose verb may be left out: it is `list` then."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)
