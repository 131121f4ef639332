"""The platform itself: messages to people, what was changed by whom, its space and version."""

import os
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import sqlalchemy as sa

from rag_platform.operations.metrics.families import Family, Names, counter, gauge
from rag_platform.operations.metrics.snapshot import Snapshot
from rag_platform.settings import Settings
from rag_platform.storage.catalog import SCHEMA_REVISION
from rag_platform.storage.schema_models import deliveries, notifications
from rag_platform.storage.schema_operations import audit_log

_COUNT = sa.func.count().label("n")
_CHANNELS = ("log", "slack", "mail")


def messages(seen: Snapshot) -> Iterator[Family]:
    """What people were to be told."""
    waiting = notifications.c.sent_at.is_(None)
    first = sa.func.min(notifications.c.at).label("at")
    (row,) = seen.rows(sa.select(_COUNT, first).where(waiting))
    yield gauge("notifications_waiting", "Messages that are not delivered everywhere.").add(row.n)
    age = max(0.0, seen.now - row.at) if row.at is not None else 0.0
    yield gauge(
        "notification_oldest_seconds",
        "Since the oldest message that is not delivered was written; 0 without one.",
    ).add(age)
    failed = gauge("deliveries_failed", "Messages that a channel was given up for.", "channel")
    delayed = gauge("deliveries_waiting", "Messages that a channel has refused so far.", "channel")
    for channel in _CHANNELS:
        failed.add(0, channel)
        delayed.add(0, channel)
    by = (deliveries.c.channel, deliveries.c.status)
    for found in seen.rows(sa.select(*by, _COUNT).group_by(*by)):
        if found.status == "given_up":
            failed.add(found.n, found.channel)
        elif found.status == "waiting":
            delayed.add(found.n, found.channel)
    yield from (failed, delayed)


def audit(seen: Snapshot) -> Iterator[Family]:
    """What people and the command line changed."""
    actions = Names()
    ended = counter(
        "audit_actions_total", "Changes of state that were asked for.", "action", "via", "outcome"
    )
    open_ = gauge("audit_actions_open", "Changes under way, or whose process died.")
    by = [audit_log.c[name] for name in ("action", "via", "outcome")]
    statement = sa.select(*by, _COUNT).group_by(*by).order_by(sa.func.min(audit_log.c.id))
    unfinished = 0
    for row in seen.rows(statement):
        if row.outcome is None:
            unfinished += row.n
        else:
            ended.add(row.n, actions(row.action), row.via, row.outcome)
    yield from (ended, open_.add(unfinished))


def catalog_size(seen: Snapshot) -> Iterator[Family]:
    """Space that the catalog takes."""
    if seen.connection.dialect.name == "sqlite":
        size = sa.text("select page_count * page_size from pragma_page_count(), pragma_page_size()")
    else:
        size = sa.text("select pg_database_size(current_database())")
    found = seen.connection.execute(size).scalar_one()
    yield gauge("catalog_size_bytes", "Size of the catalog's database.").add(int(found))


def disk(home: Path) -> Iterator[Family]:
    """Space where the state folder is. Not of the catalog, which a full disk may take along."""
    found = shutil.disk_usage(_standing(home))
    size = gauge("disk_size_bytes", "Size of the disk of a folder.", "place")
    free = gauge("disk_free_bytes", "Free space of the disk of a folder.", "place")
    yield from (size.add(found.total, "home"), free.add(found.free, "home"))


def identity(settings: Settings, catalog: str) -> Iterator[Family]:
    """Which platform this is; `catalog` is the kind of its database."""
    build = gauge("build_info", "1: the version, and that of the schema.", "version", "schema")
    yield build.add(1, _version(), SCHEMA_REVISION)
    told = {
        "catalog": catalog,
        "storage": "s3" if settings.storage.startswith("s3:") else "folder",
        "vector_store": "embedded" if settings.vector_store == "embedded" else "server",
        "compute": settings.compute.engine,
    }
    yield gauge("settings_info", "1: what the platform stands on.", *told).add(1, *told.values())
    yield gauge(
        "automation_enabled", "1 where schedules and sensors are to run from the start."
    ).add(settings.automation)


def _version() -> str:
    try:
        return version("rag_platform")
    except PackageNotFoundError:
        return "not installed"  # run from a checkout as it lies


def _standing(folder: Path) -> Path:
    """The folder, or the nearest one above it that there is."""
    while not os.path.isdir(folder):
        folder = folder.parent
    return folder
