"""Whether and where trials are mirrored into MLflow. Knows no MLflow itself."""

from __future__ import annotations

import json
import socket
import ssl
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wanexp.strict import ConfigError, build

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_DISABLE_AGENT_HINT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A trial must not wait minutes for a server that is gone; the disk has the record.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
}
"""MLflow's variables, set before it is imported where the user has not set them."""

PROBE = 5
"""Seconds that a server may take to accept a connection, and as many to answer anything."""


class TrackingError(RuntimeError):
    """MLflow cannot be used; one sentence says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """The mirror's settings.

    Attributes:
        uri: Of an MLflow server (``http://host:5000``) or database; None is a SQLite file beside
            the studies.
        experiment: What its experiments are called: ``experiment/STUDY``, one for each study.
    """

    enabled: bool = True
    uri: str | None = None
    experiment: str = "wanexp"

    def __post_init__(self) -> None:
        if not self.experiment.strip("/ "):
            raise ConfigError("tracking.experiment: expected a name, got nothing")
        if self.uri is not None and "://" not in self.uri:
            raise ConfigError(
                f"tracking.uri: expected http://HOST:PORT or sqlite:///FILE, got {self.uri!r}"
            )


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a study's summary run shows.

    Attributes:
        table: Column to values, all of one length: a row for each arm.
        text: Markdown.
        files: Such as a report of one HTML file.
        numbers: Metrics of the summary run.
        scores: Trial's digest → metrics of its run that are not in its record: what people say.
    """

    table: Mapping[str, Sequence[object]]
    text: str
    files: tuple[Path, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def split(self) -> str:
        """The table as MLflow keeps tables: JSON with ``columns`` and rows of ``data``."""
        data = [list(row) for row in zip(*self.table.values(), strict=True)]
        return json.dumps({"columns": list(self.table), "data": data})


@dataclass(kw_only=True)
class Counts:
    """What a mirror did: runs made new, made again and left alone; trials it could not mirror."""

    made: int = 0
    replaced: int = 0
    unchanged: int = 0
    problems: list[str] = field(default_factory=list)


def tracking_from(tree: Mapping[str, object]) -> Tracking:
    """The ``tracking`` of a composed configuration.

    Raises:
        ConfigError: With the path of the first thing wrong.
    """
    return build(Tracking, tree.get("tracking") or {}, "tracking")


def store_uri(tracking: Tracking, studies: Path) -> str:
    """Where MLflow keeps its runs: what was asked, or ``mlflow.db`` beside the studies."""
    return tracking.uri or f"sqlite:///{studies.absolute() / 'mlflow.db'}"


def artifact_root(tracking: Tracking, studies: Path) -> str | None:
    """Where files go; None leaves it to the server that was asked for."""
    return None if tracking.uri else (studies.absolute() / "mlartifacts").as_uri()


def is_server(uri: str) -> bool:
    """Whether runs go over the network to a server, and not into a file here."""
    return uri.startswith(("http://", "https://"))


def experiment_name(tracking: Tracking, study: str) -> str:
    """The MLflow experiment of a study."""
    return f"{tracking.experiment}/{study}"


def probe(uri: str) -> None:
    """Raises TrackingError where no server answers at an address; takes 10 s at most.

    A server that hangs still accepts connections, so it has to say something: whatever it is.
    """
    parts = urllib.parse.urlsplit(uri)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
        return  # only the proxy can reach it
    try:
        with socket.create_connection((host, port), timeout=PROBE) as line:
            _greet(line, host, secure=parts.scheme == "https")
    except OSError as error:
        raise TrackingError(f"no MLflow server answers at {uri} ({error})") from None


def _greet(line: socket.socket, host: str, *, secure: bool) -> None:
    """Waits for the first byte of an answer; OSError where none comes."""
    if not secure:
        line.sendall(f"GET /health HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        if not line.recv(1):
            raise ConnectionError("it hung up")
        return
    # Whether its certificate is to be trusted is MLflow's to decide; nothing is said to it here.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        context.wrap_socket(line, server_hostname=host).close()
    except ssl.SSLError:
        return  # an answer, if an unfriendly one


def sentence(error: Exception) -> str:
    """What an error of MLflow's says, on one line."""
    if isinstance(error, TrackingError):
        return str(error)
    if "ReadTimeoutError" in str(error):
        return "MLflow's server does not answer in time"
    lines = str(error).splitlines() or [type(error).__name__]
    return f"MLflow failed: {lines[0][:300]}"
