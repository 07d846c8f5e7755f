"""Whether and where trials are mirrored into MLflow. Knows no MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wanexp.strict import ConfigError, build


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
