"""What verbs share: the platform, runs with their progress, JSON, and how problems are told.

Light to import, as the verbs are: what is heavy comes with the platform or the runs.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rag_platform.commands.group import Reported

if TYPE_CHECKING:
    from rag_platform.commands.runs import PageRun, Runs
    from rag_platform.platform import Platform

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
by_option = click.option(
    "--by",
    metavar="NAME",
    default=lambda: os.environ.get("USER") or "somebody",
    help="Who decides; by default $USER.",
)
# The same decision twice counts once, and who asks again means it.
reason_option = click.option(
    "--reason",
    metavar="TEXT",
    default=lambda: f"by hand at {datetime.now(UTC).isoformat(timespec='seconds')}",
    help="Why; stays on record.",
)

_Command = TypeVar("_Command", bound=Callable[..., Any])


def reader_options(command: _Command) -> _Command:
    """Who asks: `tenant` and `groups` of a verb that searches."""
    tenant = click.option("--tenant", metavar="NAME", help="Whose documents; needed with several.")
    groups = click.option(
        "--as", "groups", multiple=True, metavar="GROUP", help="A group of the reader's; repeat it."
    )
    return tenant(groups(command))


@contextmanager
def open_platform() -> Iterator["Platform"]:
    """The platform of the settings, with our messages on standard error."""
    from rag_platform.operations.terminal import error_stream, show_log
    from rag_platform.platform import Platform
    from rag_platform.settings import load

    platform = Platform(load())
    show_log(error_stream(), verbose=_is_verbose())
    try:
        yield platform
    finally:
        platform.close()


@contextmanager
def open_runs(source: str | None = None) -> Iterator["Runs"]:
    """Runs in process, with their progress on standard error; `source` is one of the settings."""
    with open_platform() as platform:
        if source is not None:
            platform.source_settings(source)
        from rag_platform.commands import runs as verbs
        from rag_platform.commands.progress import StepProgress, terminal

        with verbs.opened(platform, StepProgress(terminal()), verbose=_is_verbose()) as runs:
            yield runs


def _is_verbose() -> bool:
    return bool(click.get_current_context().find_root().params["verbose"])


def fail_on_problems(done: "list[PageRun]") -> None:
    """End the command with the problems of some runs, each told once; nothing without any."""
    fail(list(dict.fromkeys(problem for run in done for problem in run.problems)))


def fail(problems: list[str]) -> None:
    """End the command with some problems; nothing without any."""
    if problems:
        raise Reported(problems)


def print_json(value: Any) -> None:
    """JSON on standard output, for people to read too."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))
