"""MLflow by its client: reached within seconds or not at all, and its errors in one line."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from rag_platform.errors import PlatformError
from rag_platform.settings_source import masked

if TYPE_CHECKING:
    from mlflow import MlflowClient

_REACH_S = 10.0
_LONGEST = 200

# For what a user has not set: without these MLflow tries for minutes to reach a server that died
# meanwhile, tells others what runs here, draws over the terminal and copies a uv.lock that lies
# in the working folder into every model.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_UV_AUTO_DETECT": "false",
}


class MlflowUnavailable(PlatformError):
    """MLflow cannot be reached."""

    transient = True


def mlflow_client(uri: str) -> "MlflowClient":
    """MLflow's client, once it is known that something answers.

    `uri` is a server's address or a SQLAlchemy URL; the folder of a SQLite file is made. Raises
    what `explained` explains.
    """
    if is_server(uri):
        import httpx

        httpx.get(uri, timeout=_REACH_S)
    else:
        url = sa.make_url(uri)
        if url.get_backend_name() == "sqlite" and url.database:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(url)
        try:
            engine.connect().close()
        finally:
            engine.dispose()
    _prepare()
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def is_server(uri: str) -> bool:
    """Whether MLflow is a server, with artifacts of its own, rather than a database."""
    return uri.startswith(("http://", "https://"))


def _prepare() -> None:
    """Before the first import of MLflow, which reads some of it."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@contextmanager
def explained(uri: str, what: str, kind: type[PlatformError]) -> Iterator[None]:
    """Turn errors of MLflow and of the way to it into `kind`; `what` says what is not done."""
    import httpx

    _prepare()
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, httpx.HTTPError, sa.exc.SQLAlchemyError, OSError) as error:
        said = masked(" ".join(re.split(r"\s+", str(error))))[:_LONGEST] or type(error).__name__
        raise kind(
            f"{what}: MLflow at {masked(uri)} did not do it ({said}). Check "
            "`mlflow.tracking_uri` and that MLflow runs."
        ) from error
