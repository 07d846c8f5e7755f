"""The best preset among MLflow's registered models: versions, the alias, and MLflow being away."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from tests.presets.test_exporting import run
from wanexp.tracking.registry import ALIAS, CONTENT, model_name

EXPORT = ("export", "mine", "--best")


@pytest.fixture
def folder(swept, tables, tmp_path) -> Path:
    """A study in which A is better than the baseline, and MLflow's tables."""
    home = shutil.copytree(swept, tmp_path / "home")
    shutil.copy(tables, home / "studies" / "mlflow.db")
    return home


def client(folder: Path) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{folder / 'studies' / 'mlflow.db'}")


def test_the_best_preset_is_registered_under_an_alias_and_found_by_it(folder) -> None:
    status, out, err = run(folder, *EXPORT)
    assert status == 0, err
    assert "In MLflow it is wanexp-mine, version 1, alias best." in out
    version = client(folder).get_model_version_by_alias("wanexp-mine", ALIAS)
    assert (version.description or "").startswith("A is better than baseline")
    assert version.tags["wanexp.effect"] == "50 % lower"
    held = Path(download_artifacts(version.source)) / "preset.yaml"
    assert held.read_text() == (folder / "studies/mine/presets/best.yaml").read_text()


def test_the_same_preset_is_registered_once_and_a_new_best_one_takes_the_alias(folder) -> None:
    run(folder, *EXPORT)
    assert "version 1" in run(folder, *EXPORT, "--to", "diffusers")[1]
    kept = folder / "studies/mine/presets/best.yaml"
    first = yaml.safe_load(kept.read_text())
    assert "version 2" in run(folder, *EXPORT, "--metric", "motion_top5")[1]
    assert yaml.safe_load(kept.read_text())["evidence"]["arm"] != first["evidence"]["arm"]
    versions = client(folder).search_model_versions("name = 'wanexp-mine'")
    assert len({version.tags[CONTENT] for version in versions}) == 2
    assert "version 1" in run(folder, *EXPORT)[1]
    assert str(client(folder).get_model_version_by_alias("wanexp-mine", ALIAS).version) == "1"


def test_a_server_that_is_away_costs_no_preset(folder) -> None:
    away = "tracking.uri=http://127.0.0.1:9"
    status, out, _ = run(folder, *EXPORT, "tracking=server", away)
    assert status == 0
    assert "no MLflow server answers" in out
    assert (folder / "studies/mine/presets/best.yaml").is_file()


def test_names_that_mlflow_does_not_take_are_changed() -> None:
    assert model_name("a/b:c") == "wanexp-a-b-c"
