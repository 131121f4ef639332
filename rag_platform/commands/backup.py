"""The verbs that make a backup of everything that the platform keeps, and restore it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rag_platform.commands.context import as_json_option, fail, open_platform, print_json

if TYPE_CHECKING:
    from rag_platform.operations.backup.backup import State
    from rag_platform.operations.backup.manifest import Manifest
    from rag_platform.platform import Platform


def _address(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """A folder or s3://bucket/prefix, as the settings take them."""
    from pydantic import TypeAdapter, ValidationError

    from rag_platform.settings_values import Location

    try:
        return TypeAdapter(Location).validate_python(value, context={"folder": Path.cwd()})
    except ValidationError as error:
        raise click.BadParameter(error.errors()[0]["msg"].removeprefix("Value error, ")) from error


@click.command()
@click.argument("target", callback=_address)
@click.option("--keep", type=click.IntRange(min=1), help="Remove all but so many of the newest.")
@as_json_option
def backup(target: str, keep: int | None, as_json: bool) -> None:
    """Copy everything that the platform keeps to TARGET, a folder or s3://bucket/prefix.

    The platform may work meanwhile. Only what TARGET does not have yet is written, so a second
    backup is quick. It holds documents: keep it as safe as they are. The JSON has name, rows,
    objects, files, size, added, added_size (bytes) and removed.
    """
    with open_platform() as platform:
        from rag_platform.operations.backup.backup import backup as backup_of
        from rag_platform.storage.objects import check_reachable, open_store

        _refuse_inside(platform, target)
        state = state_of(platform)
        check_reachable(platform.objects, platform.settings.storage)
        store = open_store(target, platform._s3, create=True)
        done = backup_of(state, store, keep=keep)
    if as_json:
        print_json(done.as_json())
        return
    click.echo(
        f"{done.name}: {done.rows:,} rows, {done.objects:,} objects, {done.files:,} files, "
        f"{_size(done.size)}; {done.added:,} of them new ({_size(done.added_size)})"
        + (f"; {done.removed} older backups removed" if done.removed else "")
    )


@click.command()
@click.argument("source", callback=_address)
@click.option("--backup", "name", metavar="NAME", help="Which; by default the newest.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json_option
def restore(source: str, name: str | None, yes: bool, as_json: bool) -> None:
    """Restore a backup from SOURCE into the empty place that the settings name.

    First the whole backup is read and compared with its digests; nothing is written where it is
    damaged, or where the place is not empty. Killed, the same command goes on. At the end the
    indexes are made from catalog and storage, at no embedding. The JSON has name,
    made_at, rows, objects, files, and indexes as `reconcile` prints them.
    """
    with open_platform() as platform:
        from rag_platform.operations.backup.manifest import newest
        from rag_platform.operations.backup.restore import Restore
        from rag_platform.storage.objects import check_reachable, open_store

        store = open_store(source, platform._s3)
        check_reachable(store, source)
        name = name or newest(store)
        restoring = Restore(state_of(platform), store, name)
        restoring.refuse_filled()
        restoring.check()
        made = restoring.manifest
        if not yes and not click.confirm(f"Restore {_told(name, made)}?", err=True):
            fail(["nothing restored"])
        restoring.run()
        reports = [platform.reconciler(index).run(repair=True) for index in platform.indexes]
        restoring.finish()
    if as_json:
        indexes = [report.as_json() for report in reports]
        print_json({"name": name, **_figures(made), "indexes": indexes})
    else:
        click.echo(f"Restored {_told(name, made)}.")
    fail(
        [
            f"{report.index}: does not agree with the catalog: replay the pages of its documents"
            for report in reports
            if not report.agrees
        ]
    )


def state_of(platform: "Platform") -> "State":
    """Everything that a platform keeps, here and on servers."""
    import os

    import sqlalchemy as sa

    from rag_platform.operations.backup.backup import State
    from rag_platform.operations.backup.files import Places, local_dagster
    from rag_platform.storage.mlflow import is_server

    settings = platform.settings
    uri = settings.mlflow_uri
    database = None if is_server(uri) else sa.make_url(uri)
    is_file = database is not None and database.get_backend_name() == "sqlite"
    files = Places(
        mlflow=Path(database.database or "") if database and is_file else None,
        artifacts=None if is_server(uri) else settings.home / "models" / "artifacts",
        dagster=local_dagster(Path(os.environ.get("DAGSTER_HOME") or settings.home / "dagster")),
    )
    return State(platform.catalog, platform.objects, platform.vectors, files, settings.home)


def _refuse_inside(platform: "Platform", target: str) -> None:
    """A backup within what it is a backup of would go with it."""
    from rag_platform.storage.objects import display_url

    for place in (platform.settings.home.as_uri(), platform.settings.storage):
        if f"{target}/".startswith(f"{place}/"):
            raise click.BadParameter(
                f"{display_url(target)} lies within {display_url(place)}, which it is to save. "
                "Name a place outside."
            )


def _told(name: str, made: "Manifest") -> str:
    figures = _figures(made)
    shown = ", ".join(f"{figures[what]:,} {what}" for what in ("rows", "objects", "files"))
    return f"{name} of {made.made_at:%Y-%m-%d %H:%M} UTC ({shown})"


def _figures(made: "Manifest") -> dict[str, Any]:
    return {
        "made_at": made.made_at.isoformat(timespec="seconds"),
        "rows": made.rows,
        "objects": len(made.objects),
        "files": len(made.files),
    }


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
