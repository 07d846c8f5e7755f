"""The best preset among MLflow's registered models: a new version for a new preset, one alias.

MLflow itself is imported elsewhere (``wanexp.track``); this only asks the client that it gives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

ALIAS = "best"
"""By which ``models:/NAME@best`` finds the newest best preset of a study."""

CONTENT = "wanexp.preset"
"""The tag of a version that says which text it holds."""


class _Info(Protocol):
    @property
    def run_id(self) -> str: ...
    @property
    def artifact_uri(self) -> str | None: ...


class _Run(Protocol):
    @property
    def info(self) -> _Info: ...


class _Version(Protocol):
    @property
    def version(self) -> object: ...
    @property
    def tags(self) -> Mapping[str, str]: ...


class Client(Protocol):
    """What is used of MLflow's client."""

    def search_runs(self, experiment_ids: list[str], filter_string: str) -> Sequence[_Run]:
        """Runs of experiments."""
        ...

    def create_run(self, experiment_id: str, *, tags: dict[str, str], run_name: str) -> _Run:
        """A new run."""
        ...

    def log_text(self, run_id: str, text: str, artifact_file: str) -> None:
        """A file among a run's artifacts."""
        ...

    def search_registered_models(self, filter_string: str) -> Sequence[object]:
        """Registered models."""
        ...

    def create_registered_model(self, name: str, *, description: str) -> object:
        """A new registered model."""
        ...

    def search_model_versions(self, filter_string: str) -> Sequence[_Version]:
        """Versions of registered models."""
        ...

    def create_model_version(
        self, name: str, source: str, run_id: str, *, tags: dict[str, str], description: str
    ) -> _Version:
        """A new version of a registered model."""
        ...

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        """Let an alias mean a version."""
        ...


@dataclass(frozen=True, kw_only=True)
class Registered:
    """Where the preset is now: a registered model and its version."""

    name: str
    version: str


def register(
    client: Client,
    experiment: str,
    study: str,
    text: str,
    *,
    verdict: str,
    tags: Mapping[str, str],
) -> Registered:
    """Make ``text`` the study's best preset; one that was registered before gets the alias back.

    The file lies with the study's summary run, in a folder named by its content, so a later best
    preset leaves it alone.
    """
    name, content = model_name(study), hashlib.sha256(text.encode()).hexdigest()[:16]
    if not client.search_registered_models(f"name = '{name}'"):
        about = f"The best preset of the study {study}; wanexp export {study} --best."
        client.create_registered_model(name, description=about)
    versions = client.search_model_versions(f"name = '{name}'")
    found = next((one for one in versions if one.tags.get(CONTENT) == content), None)
    if found is None:
        run = _summary_run(client, experiment, study)
        place = f"presets/{content}"
        client.log_text(run.info.run_id, text, f"{place}/preset.yaml")
        found = client.create_model_version(
            name,
            f"{run.info.artifact_uri}/{place}",
            run.info.run_id,
            tags={**tags, CONTENT: content},
            description=verdict,
        )
    client.set_registered_model_alias(name, ALIAS, str(found.version))
    return Registered(name=name, version=str(found.version))


def model_name(study: str) -> str:
    """The registered model of a study; MLflow's names have no slashes or colons."""
    return f"wanexp-{study.replace('/', '-').replace(':', '-')}"


def _summary_run(client: Client, experiment: str, study: str) -> _Run:
    found = client.search_runs([experiment], "tags.`wanexp.kind` = 'summary'")
    if found:
        return found[0]
    tags = {"wanexp.kind": "summary", "wanexp.study": study}
    return client.create_run(experiment, tags=tags, run_name="summary")
