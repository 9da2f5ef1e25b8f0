"""The champion in an MLflow registry.

``mlflow-skinny`` with SQLAlchemy and Alembic is enough. MLflow blocks and takes seconds to
import, so it lives in a thread of its own, from its import on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sqlite3
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeVar

from services.scoring.domain.bundle import FILES
from services.scoring.ports import ModelReference, RegistryUnavailable

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

T = TypeVar("T")

_SQLITE: Final = "sqlite:///"
_CREDENTIALS: Final = re.compile(r"//[^/@\s]+@")
_ABSENT: Final = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"})

# MLflow reports its use to its makers, greets at INFO, and would wait minutes for a lost server, which
# holds up a start and an end. The next look asks again anyway.
_ENVIRONMENT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    }
)


class MlflowRegistry:
    """Implements ``ModelRegistry``; a context manager that owns its thread."""

    def __init__(self, uri: str, model_name: str, alias: str) -> None:
        self._uri = uri
        self._model_name = model_name
        self._alias = alias
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mlflow")
        self._client: MlflowClient | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def champion(self) -> ModelReference | None:
        """Return the version behind the alias, None where there is none."""
        return await self._run(
            lambda: self._find(
                lambda client: client.get_model_version_by_alias(self._model_name, self._alias)
            )
        )

    async def version(self, version: str) -> ModelReference | None:
        """Return a version of the model, whatever its alias; None where there is none."""
        return await self._run(
            lambda: self._find(lambda client: client.get_model_version(self._model_name, version))
        )

    async def fetch(self, reference: ModelReference) -> Mapping[str, bytes]:
        """Read the bundle's files from the version's artifacts."""
        return await self._run(lambda: self._fetch(reference))

    async def _run(self, work: Callable[[], T]) -> T:
        def blocking() -> T:
            try:
                return work()
            except Exception as error:
                # MLflow lets through whatever its stores raise: SQLAlchemy, requests, boto, OSError.
                raise RegistryUnavailable(_describe(error)) from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, blocking)

    def _find(self, ask: Callable[[MlflowClient], ModelVersion]) -> ModelReference | None:
        if self._uri.startswith(_SQLITE) and not self._is_in_sqlite():
            if self._client is not None:
                raise FileNotFoundError(f"{self._model_name} is no longer in {self._uri}")
            return None
        client = self._connected()
        from mlflow.exceptions import MlflowException

        try:
            found = ask(client)
        except MlflowException as error:
            if error.error_code in _ABSENT:
                return None
            raise
        return ModelReference(
            name=str(found.name),
            version=str(found.version),
            run_id=str(found.run_id),
            source=str(found.source),
        )

    def _fetch(self, reference: ModelReference) -> Mapping[str, bytes]:
        client = self._connected()
        from mlflow.artifacts import download_artifacts

        uri = client.get_model_version_download_uri(reference.name, reference.version)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(download_artifacts(artifact_uri=uri, dst_path=scratch, tracking_uri=self._uri))
            return {name: (folder / name).read_bytes() for name in FILES if (folder / name).is_file()}

    def _connected(self) -> MlflowClient:
        if self._client is None:
            for name, value in _ENVIRONMENT.items():
                os.environ.setdefault(name, value)
            from mlflow import MlflowClient

            logging.getLogger("alembic").setLevel(logging.WARNING)
            self._client = MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)
        return self._client

    def _is_in_sqlite(self) -> bool:
        # MLflow makes a database that does not exist and finishes one that is being made, which
        # must not happen here: training makes it, and a model's row shows that it is complete.
        path = Path(self._uri.removeprefix(_SQLITE)).absolute()
        if not path.exists():
            return False
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            try:
                found = connection.execute(
                    "SELECT 1 FROM registered_models WHERE name = ?", (self._model_name,)
                )
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):
                    return False
                raise
            return found.fetchone() is not None


def _describe(error: Exception) -> str:
    # An address in the text may hold a password.
    return f"{type(error).__name__}: {_CREDENTIALS.sub('//***@', str(error))}"[:500]
