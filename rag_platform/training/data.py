"""The files of a model's data: a file, a folder or a bucket, readable for the length of a block."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from rag_platform.documents.sources.base import ListedObject, Source, SourceUnavailable
from rag_platform.documents.sources.kinds.folder import FolderSource
from rag_platform.documents.sources.kinds.s3 import S3Source
from rag_platform.documents.sources.selection import Selection
from rag_platform.storage.objects import (
    S3Connection,
    display_url,
    explain,
    may_pass,
    open_store,
    s3_client,
    split_s3,
)
from rag_platform.training.errors import TrainingError, UnusableData
from rag_platform.training.rows import DataFile

MAX_FILES = 10_000
MAX_FILE_BYTES = 2 * 1024**3
MAX_BYTES = 8 * 1024**3
# A folder may tell of its own origin, and hold what other programs hide in it.
_LEFT_OUT = ("[Rr][Ee][Aa][Dd][Mm][Ee]*", ".*")
_NO_OBJECT = ("404", "NoSuchKey", "NotFound")
_COPY_BYTES = 8 * 1024**2
_MAX_NAME = 200


class DataChanged(TrainingError):
    """Files were written or removed while they were read."""

    transient = True


@dataclass(frozen=True, slots=True)
class _Listing:
    """What is there. Keys count from `base`, which of a single file is the folder it lies in."""

    base: str
    items: list[ListedObject]
    is_single: bool = False


@contextmanager
def data_files(
    url: str, s3: S3Connection, *, only: Callable[[str], bool] | None = None
) -> Iterator[list[DataFile]]:
    """The files behind `file:///file-or-folder` or `s3://bucket/key-or-prefix`, by name.

    Those named README and hidden ones are left out; with `only` all whose key it does not take,
    and then there may be none at all. Files of a bucket are copied for the length
    of the block. Raises `UnusableData` where there are none, too many or some that must not be
    read, `SourceUnavailable`, and `DataChanged` at the end of the block when what was read in it
    may have been half of an old file and half of a new one.
    """
    listing = _listing(url, s3)
    if only is not None:
        listing = replace(listing, items=[item for item in listing.items if only(item.key)])
    if only is None or listing.items:
        _check(url, listing.items)
    if url.startswith("file:"):
        with _unchanged(url, listing) as files:
            yield files
        return
    with tempfile.TemporaryDirectory(prefix="training-data-") as folder:
        yield list(_downloaded(listing, s3, Path(folder)))


def newest(url: str, s3: S3Connection) -> float | None:
    """When the newest of these files was written, in UTC seconds since 1970; None without files.

    No file is read. Raises `SourceUnavailable`.
    """
    return max((item.modified for item in _listing(url, s3).items), default=None)


def _listing(url: str, s3: S3Connection) -> _Listing:
    selection = Selection.of(("*",), _LEFT_OUT)
    if url.startswith("file:"):
        path = _path(url)
        if path.is_file():
            return _Listing(url, [_file(path)], is_single=True)
        if not path.is_dir():
            raise SourceUnavailable(
                f"{url}: neither a file nor a folder. Check `data` of the model, or mount it first."
            )
        return _Listing(url, _listed(FolderSource(url, selection)))
    store, client = open_store(url, s3), s3_client(s3)
    found = _listed(S3Source(url, selection, store=store, client=client))
    if not found and (single := _object(url, client)):
        return _Listing(url.rpartition("/")[0], [single], is_single=True)
    return _Listing(url, found)


def _listed(source: Source) -> list[ListedObject]:
    found = [item for batch in source.batches() for item in batch]
    return sorted(found, key=lambda item: item.key)


def _path(url: str) -> Path:
    return Path(unquote(urlsplit(url).path))


def _file(path: Path) -> ListedObject:
    found = path.stat()
    return ListedObject(path.name, found.st_size, found.st_mtime, _etag(found))


def _etag(found: os.stat_result) -> str:
    return f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"


def _object(url: str, client: Any) -> ListedObject | None:
    """The one object that an address may stand for."""
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, prefix = split_s3(url)
    if not prefix:
        return None
    try:
        head = client.head_object(Bucket=bucket, Key=prefix.removesuffix("/"))
    except (BotoCoreError, ClientError) as error:
        if isinstance(error, ClientError) and error.response["Error"]["Code"] in _NO_OBJECT:
            return None
        raise _unavailable(url, error) from error
    name = url.rpartition("/")[2]
    modified = float(int(head["LastModified"].timestamp()))
    return ListedObject(name, head["ContentLength"], modified, head["ETag"])


def _check(url: str, listed: list[ListedObject]) -> None:
    shown = display_url(url)
    if not listed:
        raise UnusableData(f"{shown}: there is no file. Check `data` of the model.")
    if len(listed) > MAX_FILES or sum(item.size for item in listed) > MAX_BYTES:
        raise UnusableData(f"{shown}: more than {MAX_FILES:,} files or {MAX_BYTES:,} bytes.")
    for item in listed:
        name = item.key[:_MAX_NAME]
        if item.failure:
            raise UnusableData(f"{shown}: {name!r} must not be read: {item.detail}.")
        if item.size > MAX_FILE_BYTES:
            raise UnusableData(f"{shown}: {name!r} has more than {MAX_FILE_BYTES:,} bytes.")


@contextmanager
def _unchanged(url: str, listing: _Listing) -> Iterator[list[DataFile]]:
    """The files where they are; afterwards they must still be those of the listing."""
    files = [_in_place(url, item, is_single=listing.is_single) for item in listing.items]
    try:
        yield files
    except UnusableData as error:  # of a file that was half written, perhaps
        _check_unchanged(url, files, listing, cause=error)
        raise
    _check_unchanged(url, files, listing)


def _in_place(url: str, item: ListedObject, *, is_single: bool) -> DataFile:
    root = _path(url)
    if is_single:
        return DataFile(item.key, Path(os.path.realpath(root)), item.modified)
    path = Path(os.path.realpath(root / item.key))
    if not path.is_relative_to(os.path.realpath(root)):  # made a link since it was listed
        raise _changed(url)
    return DataFile(item.key, path, item.modified)


def _check_unchanged(
    url: str, files: list[DataFile], listing: _Listing, cause: UnusableData | None = None
) -> None:
    for file, item in zip(files, listing.items, strict=True):
        try:
            is_link = os.path.realpath(file.path) != str(file.path)
            is_same = not is_link and _etag(file.path.stat()) == item.etag
        except OSError as error:
            raise _changed(url) from error
        if not is_same:
            raise _changed(url) from cause


def _changed(url: str) -> DataChanged:
    return DataChanged(
        f"{display_url(url)}: files were changed or removed while they were read. Run again."
    )


def _downloaded(listing: _Listing, s3: S3Connection, folder: Path) -> Iterator[DataFile]:
    from obstore.exceptions import BaseError, NotFoundError

    store: Any = open_store(listing.base, s3)
    for number, item in enumerate(listing.items):
        path = folder / f"{number:05d}"  # no path is made of a key
        try:
            result = store.get(item.key)
            if result.meta["e_tag"] != item.etag:
                raise _changed(listing.base)
            with path.open("wb") as target:
                for part in result.stream(min_chunk_size=_COPY_BYTES):
                    target.write(part)
        except (FileNotFoundError, NotFoundError) as error:
            raise _changed(listing.base) from error
        except (BaseError, PermissionError) as error:
            raise _unavailable(listing.base, error) from error
        yield DataFile(item.key, path, item.modified)


def _unavailable(url: str, error: BaseException) -> SourceUnavailable:
    return SourceUnavailable(f"{display_url(url)}: {explain(error)}", transient=may_pass(error))
