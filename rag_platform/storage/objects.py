"""Object stores by URL: a folder, an S3 bucket, or memory, all through obstore."""

import re
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from rag_platform.errors import PlatformError

if TYPE_CHECKING:
    from obstore.store import (
        ClientConfig,
        LocalStore,
        MemoryStore,
        RetryConfig,
        S3Config,
        S3CredentialProvider,
        S3Store,
    )

    Store = LocalStore | S3Store | MemoryStore

# A store that is down is known within half a minute, not after obstore's three. A read that
# goes on may take longer: it is a big object.
_CONNECT_TIMEOUT = timedelta(seconds=5)
_READ_TIMEOUT = timedelta(seconds=20)
_REQUEST_TIMEOUT = timedelta(minutes=10)
_RETRY_TIMEOUT = timedelta(seconds=20)
_RETRIES = 4

# What S3 and obstore say, and what it means to the person who set the store up.
_CAUSES = (
    (
        r"169\.254\.|Unable to locate credentials",
        "no credentials were found. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
    ),
    (r"NoSuchBucket", "there is no such bucket. Create it, or correct the URL."),
    (
        r"InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|ExpiredToken",
        "the credentials were refused. Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
        "`s3.profile`.",
    ),
    (
        r"403 Forbidden|AccessDenied",
        "access is denied. Give the key the right to list and read the bucket.",
    ),
    (
        r"PermanentRedirect|AuthorizationHeaderMalformed",
        "the bucket lies in another region. Set `s3.region`.",
    ),
    (
        r"HTTP error: |[Cc]ould not connect to|Connect timeout|Read timeout|Connection was closed",
        "the server cannot be reached. Check `s3.endpoint_url`, and that it runs.",
    ),
)
# Of those, what another try a minute later meets just the same.
_LASTING = re.compile(
    r"NoSuchBucket|InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|AccessDenied|403 Forbidden"
    r"|PermanentRedirect|AuthorizationHeaderMalformed|Unable to locate credentials"
)


class StorageUnavailable(PlatformError):
    """A store cannot be opened or listed."""

    transient = True


@dataclass(frozen=True, slots=True)
class S3Connection:
    """How to reach S3. Without a key, obstore looks for one in the environment (AWS_*)."""

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)


def open_store(url: str, s3: S3Connection | None = None, *, create: bool = False) -> "Store":
    """The store behind `file:///folder`, `s3://bucket/prefix` or `memory://`.

    A folder is made only with `create`. Nothing is asked of S3 yet: see `check_reachable`.
    Raises `StorageUnavailable`.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "file" and rest.startswith("/"):
        return _open_folder(url, create=create)
    if scheme == "s3" and rest:
        return _open_s3(url, s3 or S3Connection())
    if scheme == "memory":
        from obstore.store import MemoryStore

        return MemoryStore()
    raise StorageUnavailable(
        f"{display_url(url)}: not the address of a store. Write file:///folder or "
        "s3://bucket/prefix."
    )


def check_reachable(store: "Store", url: str) -> None:
    """Ask the store for one object of its listing. Raises `StorageUnavailable`."""
    from obstore.exceptions import BaseError, InvalidPathError

    if url.startswith("file:") and not _folder(url).is_dir():
        raise _no_folder(url)
    try:
        next(iter(store.list(chunk_size=1)), None)
    except InvalidPathError:
        return  # the store answers; a key that cannot be addressed is for its reader to report
    except (BaseError, OSError) as error:
        raise StorageUnavailable(f"{_where(url, store)}: {explain(error)}") from error


def display_url(url: str) -> str:
    """The URL without user and password, and without a web address's query, for messages."""
    shown = re.sub(r"(?<=://)[^/]*@", "", url)
    return shown.partition("?")[0] if shown.startswith("http") else shown


def _open_folder(url: str, *, create: bool) -> "LocalStore":
    from obstore.store import LocalStore

    folder = _folder(url)
    try:
        if create:
            folder.mkdir(parents=True, exist_ok=True)
        found = folder.is_dir()
    except OSError as error:
        raise StorageUnavailable(
            f"{display_url(url)}: the folder cannot be opened ({error.strerror}). Check the path "
            "and the rights of this user."
        ) from error
    if not found:
        raise _no_folder(url)
    return LocalStore(folder)


def _folder(url: str) -> Path:
    return Path(unquote(urlsplit(url).path))


def _no_folder(url: str) -> StorageUnavailable:
    return StorageUnavailable(
        f"{display_url(url)}: there is no such folder. Create or mount it, or correct the URL."
    )


def _open_s3(url: str, s3: S3Connection) -> "S3Store":
    from obstore.store import S3Store

    bucket, prefix = split_s3(url)
    given: S3Config = {}
    if s3.endpoint_url:
        given["endpoint"] = s3.endpoint_url
    if s3.region:
        given["region"] = s3.region
    if s3.access_key_id and s3.secret_access_key:
        given["access_key_id"] = s3.access_key_id
        given["secret_access_key"] = s3.secret_access_key
        if s3.session_token:
            given["session_token"] = s3.session_token
    client: ClientConfig = {
        "connect_timeout": _CONNECT_TIMEOUT,
        "read_timeout": _READ_TIMEOUT,
        "timeout": _REQUEST_TIMEOUT,
    }
    if (s3.endpoint_url or "").startswith("http://"):
        client["allow_http"] = True
    retries: RetryConfig = {"max_retries": _RETRIES, "retry_timeout": _RETRY_TIMEOUT}
    try:
        return S3Store(
            bucket,
            prefix=prefix or None,
            config=given,
            client_options=client,
            retry_config=retries,
            credential_provider=_of_profile(s3),
        )
    except Exception as error:  # obstore and boto3 share no base class
        raise StorageUnavailable(
            f"{display_url(url)}: cannot be opened ({_first_line(error)}). Check the URL and `s3`."
        ) from error


def split_s3(url: str) -> tuple[str, str]:
    """Bucket and prefix; the prefix ends with a slash, unless it is empty."""
    # By hand: in a key, unlike in a web address, `#`, `?` and `%` mean themselves.
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    prefix = prefix.strip("/")
    return bucket.rpartition("@")[2], f"{prefix}/" if prefix else ""


def s3_client(s3: S3Connection) -> Any:
    """A boto3 client. Raises `StorageUnavailable` for a profile that does not exist."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    try:
        return boto3.Session(profile_name=s3.profile or None).client(
            "s3",
            endpoint_url=s3.endpoint_url,
            region_name=s3.region,
            aws_access_key_id=s3.access_key_id,
            aws_secret_access_key=s3.secret_access_key,
            aws_session_token=s3.session_token,
            config=Config(
                connect_timeout=_CONNECT_TIMEOUT.total_seconds(),
                read_timeout=_READ_TIMEOUT.total_seconds(),
                retries={"max_attempts": _RETRIES, "mode": "standard"},
            ),
        )
    except (BotoCoreError, ValueError) as error:
        raise StorageUnavailable(f"S3: {_first_line(error)}. Check `s3`.") from error


def _of_profile(s3: S3Connection) -> "S3CredentialProvider | None":
    """Credentials of a profile in the AWS configuration files, renewed as they expire."""
    if not s3.profile or s3.access_key_id:
        return None
    import boto3
    from obstore.auth.boto3 import Boto3CredentialProvider

    session = boto3.Session(profile_name=s3.profile, region_name=s3.region)
    return Boto3CredentialProvider(session)


def _where(url: str, store: "Store") -> str:
    endpoint = getattr(store, "config", {}).get("endpoint")
    return f"{display_url(url)} at {display_url(endpoint)}" if endpoint else display_url(url)


def explain(error: BaseException) -> str:
    """What an error of obstore or boto3 means and what to do, in a line."""
    text = str(error)
    for pattern, meaning in _CAUSES:
        if re.search(pattern, text):
            return meaning
    return f"it cannot be read ({_first_line(error)}). Check the store and its settings."


def may_pass(error: BaseException) -> bool:
    """Whether another try may meet something else."""
    return not _LASTING.search(str(error))


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:300]
