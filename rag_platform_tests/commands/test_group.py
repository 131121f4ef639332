"""How verbs end."""

import signal
import time
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from rag_platform.commands.group import Cli


class _Interrupting:
    """Its finalizer is where Ctrl-C happens to arrive."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


class _Broken:
    def __del__(self) -> None:
        raise ValueError("an error of a finalizer")


@click.group(cls=Cli)
@click.option("--debug", is_flag=True)
def cli(debug: bool) -> None:
    """Stands for ours."""


@cli.command()
def interrupted() -> None:
    """Would go on for ever."""
    _Interrupting()
    time.sleep(30)


@cli.command()
def broken() -> None:
    """Goes on to its end."""
    _Broken()
    click.echo("done")


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """A shell that runs tests in the background has them ignore the signal of Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
def test_an_interrupt_in_a_finalizer_ends_the_command() -> None:
    started = time.monotonic()
    result = CliRunner().invoke(cli, ["interrupted"])
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")
    assert time.monotonic() - started < 20


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_error_in_a_finalizer_does_not() -> None:
    result = CliRunner().invoke(cli, ["broken"])
    assert (result.exit_code, result.stdout) == (0, "done\n")
