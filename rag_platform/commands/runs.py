"""The verbs that run the chain: in this process and recorded in the Dagster instance."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from rag_platform import demo
from rag_platform.commands.progress import StepProgress
from rag_platform.defs.operations import launch
from rag_platform.documents.page import passes_of
from rag_platform.errors import PlatformError
from rag_platform.indexing.progress import unfinished_windows
from rag_platform.operations.status import page_summary, written_windows
from rag_platform.platform import Platform

DEMO_SOURCE = "demo"
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class DemoImpossible(PlatformError):
    """The demo cannot be replayed into this state."""


@dataclass(frozen=True, slots=True)
class PageRun:
    """One window of a run that has ended: its page, and the problems of the run, a line each."""

    source: str
    window: str
    run_id: str
    success: bool
    seconds: float
    problems: tuple[str, ...]
    page: dict[str, Any] | None

    def as_json(self) -> dict[str, Any]:
        """The stable JSON form."""
        return asdict(self) | {"problems": list(self.problems)}


@dataclass(frozen=True)
class Runs:
    """Runs the chain in a Dagster instance that stays open from the first run to the last."""

    platform: Platform
    instance: Any
    progress: StepProgress
    verbose: bool

    @property
    def quiet(self) -> dict[str, Any]:
        """Run config that keeps Dagster's own log off the terminal, unless it is asked for."""
        return {} if self.verbose else _QUIET

    def run(
        self,
        source: str,
        windows: Sequence[str],
        *,
        job: str | None = None,
        keys: Sequence[Any] | None = None,
        config: dict[str, Any] | None = None,
    ) -> list[PageRun]:
        """One run over adjacent windows, of the source's chain or of another `job`. A gate that
        does not hold is no success, even where it stops nothing."""
        started = time.monotonic()
        span = windows[0] if len(windows) == 1 else f"{windows[0]} to {windows[-1]}"
        with self.progress.run(f"{source} {span}"):
            result = launch.run_in_process(
                self.instance,
                source,
                windows,
                job=job,
                keys=keys,
                run_config=(config or {}) | self.quiet,
                on_step=self.progress,
            )
        seconds = round(time.monotonic() - started, 3)
        success = result.success and not result.problems
        problems = result.problems
        if not success and not problems:
            problems = (f"{source} {span}: run {result.run_id} failed; see it in the UI: make dev",)
        return [
            PageRun(
                source,
                window,
                result.run_id,
                success,
                seconds,
                problems,
                page_summary(self.platform.catalog, source, window),
            )
            for window in windows
        ]


@contextmanager
def opened(platform: Platform, progress: StepProgress, *, verbose: bool) -> Iterator[Runs]:
    """Runs in the Dagster instance, for the length of the block."""
    with launch.instance(platform.settings) as instance:
        yield Runs(platform, instance, progress, verbose)


def sync(
    runs: Runs, source: str, window: str | None, *, allow_deletions: bool, refresh: bool
) -> list[PageRun]:
    """Older windows whose runs broke off, then the window: by default the current one.

    Of an older window that fails again, what the newer one brought may be the remedy (the broken
    documents are gone, say): it is tried once more at the end, and that run counts.
    """
    platform = runs.platform
    calendar = platform.calendar(source)
    chosen = calendar.check(window) if window else calendar.current()
    indexes = platform.indexes
    config = launch.step_config(
        source, "raw_docs", allow_deletions=allow_deletions, refresh=refresh
    )
    done: dict[str, PageRun] = {}
    for older in unfinished_windows(platform.catalog, source, indexes):
        if older < chosen:
            [done[older]] = runs.run(source, [older])
    [done[chosen]] = runs.run(source, [chosen], config=config)
    for older, run in done.items():
        if older < chosen and not run.success:
            [done[older]] = runs.run(source, [older])
    return list(done.values())


@dataclass(frozen=True, slots=True)
class Replay:
    """What a replay asks for: windows, keys of assets, and run config."""

    source: str
    windows: list[str]
    keys: list[Any]
    config: dict[str, Any]


def replay_of(
    platform: Platform, source: str, *, first: str, last: str, index: str | None, refresh: bool
) -> Replay:
    """The whole chain; or for one index its branch, where the windows have clean documents."""
    windows = list(platform.calendar(source).between(first, last))
    if not windows:
        raise PlatformError(f"--from {first} --to {last}: no window between. Swap the two.")
    indexes = [index] if index else platform.indexes
    for name in indexes:
        platform.index_settings(name)
    only_branch = index is not None and not refresh and _all_cleaned(platform, source, windows)
    every = launch.stages_of(platform.settings, source)
    # A translation is part of the branch: it is there already, or it is what the branch needs.
    stages = every[len(launch.STAGES) :] if only_branch else every
    config = launch.step_config(source, "raw_docs", refresh=True) if refresh else {}
    return Replay(source, windows, launch.keys_of(source, indexes, stages=stages), config)


def _all_cleaned(platform: Platform, source: str, windows: Sequence[str]) -> bool:
    """Whether every window has a page, and clean documents of all its passes."""
    clean = platform.clean(source)
    written = set(written_windows(platform.catalog, source))
    for window in windows:
        if window not in written:
            return False
        with platform.catalog.read() as connection:
            numbers = passes_of(connection, source, window)
        parts = [clean.part(window, number) for number in numbers]
        if not all(part is not None and platform.pages.version(part) for part in parts):
            return False
    return True


def replay_here(runs: Runs, wanted: Replay) -> list[PageRun]:
    """The replay in this process, in runs of the size that the backfill policy sets."""
    done: list[PageRun] = []
    for batch in launch.batches(runs.platform.settings, wanted.source, wanted.windows):
        done += runs.run(wanted.source, batch, keys=wanted.keys, config=wanted.config)
    return done


def replay_demo(
    runs: Runs, days: int | None, *, say: Callable[[str], None]
) -> tuple[list[PageRun], date]:
    """Replay the days of the corpus that are not recorded; with none left, ask once more.

    Stops at the first day that fails. Returns the runs and the last day recorded.
    """
    catalog = runs.platform.catalog
    chosen = demo.days()[:days]
    written = written_windows(catalog, DEMO_SOURCE)
    pending = [day for day in chosen if day.isoformat() not in written]
    folder = _demo_folder(runs.platform)
    if pending and written and written[-1] > pending[0].isoformat():
        raise DemoImpossible(
            f"demo: the page of {written[-1]} is written, so {pending[0]} cannot be replayed any "
            "more. Throw the state away and start again: rag-platform reset, then demo."
        )
    if pending and not written:
        _clear(folder, runs.platform.settings.home)
    done: list[PageRun] = []
    indexes = runs.platform.indexes
    for window in unfinished_windows(catalog, DEMO_SOURCE, indexes):
        done += runs.run(DEMO_SOURCE, [window])
    for day in pending:
        if any(not run.success for run in done):
            break
        demo.apply_day(demo.CORPUS, day, folder)
        done += runs.run(DEMO_SOURCE, [day.isoformat()])
    if not pending:
        say("Every day is recorded already; asking the source once more.")
        done += runs.run(DEMO_SOURCE, [written[-1]])
    return done, chosen[-1]


def _demo_folder(platform: Platform) -> Path:
    if DEMO_SOURCE not in platform.settings.sources:
        raise DemoImpossible(
            "demo: platform.yaml has no source `demo`. Run it with the project's own platform.yaml "
            "(unset RAG_PLATFORM_CONFIG)."
        )
    source = platform.source_settings(DEMO_SOURCE)
    first = demo.days()[0].isoformat()
    if not source.url.startswith("file:") or source.cadence != "daily":
        raise DemoImpossible(
            "demo: the source `demo` must be a folder with daily windows. Set its url to "
            "$RAG_PLATFORM_HOME/demo/source."
        )
    platform.calendar(DEMO_SOURCE).check(first)
    return Path(unquote(urlsplit(source.url).path))


def _clear(folder: Path, home: Path) -> None:
    """An empty folder to begin with: what an earlier state left there is not the first day's."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not folder.resolve().is_relative_to(home.resolve()):
        raise DemoImpossible(
            f"demo: {folder} is not empty, and not below {home}: it may be yours. Empty it, or "
            "set the url of the source `demo` to $RAG_PLATFORM_HOME/demo/source."
        )
    shutil.rmtree(folder)
