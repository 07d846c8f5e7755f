"""Where a trial ran is told truly, cheaply, and without waking a GPU."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time

import pytest

from wanexp.environment import GIT_PATIENCE, environment, git_revision, packages


def git(folder, *words):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "-C", folder, *identity, *words], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path):
    git_revision.cache_clear()
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_the_environment_is_plain_and_true(tmp_path):
    found = environment(tmp_path)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["python"] == platform.python_version()
    assert found["cores"] == len(os.sched_getaffinity(0))
    assert packages()["numpy"] == importlib.metadata.version("numpy")
    assert "opencv-python-headless" in packages()
    assert found["packages"] == packages()
    assert found["cpu"]
    assert found["git"] is None


def test_a_checkout_has_a_revision_and_may_be_dirty(checkout):
    clean = git_revision(checkout)
    assert clean is not None
    assert len(str(clean["revision"])) == 40
    assert clean["dirty"] is False
    (checkout / "new").write_text("not tracked")
    git_revision.cache_clear()
    assert git_revision(checkout) == clean
    (checkout / "file").write_text("two")
    git_revision.cache_clear()
    assert git_revision(checkout) == {**clean, "dirty": True}


def test_a_folder_below_the_checkout_has_its_revision(checkout):
    (checkout / "studies").mkdir()
    assert git_revision(checkout / "studies") == git_revision(checkout)


def test_without_git_or_with_one_that_hangs_there_is_no_revision(checkout, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "no programs"))
    assert git_revision(checkout) is None
    git_revision.cache_clear()
    slow = tmp_path / "bin"
    slow.mkdir()
    (slow / "git").write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    (slow / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(slow))
    monkeypatch.setattr("wanexp.environment.GIT_PATIENCE", 0.2)
    began = time.monotonic()
    assert git_revision(checkout) is None
    assert time.monotonic() - began < GIT_PATIENCE


def test_asking_loads_no_torch_and_wakes_no_gpu():
    code = (
        "import sys; from wanexp.environment import environment; found = environment();"
        "assert 'torch' not in sys.modules; assert found['gpu'] is None; print(found['wanexp'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == importlib.metadata.version("wanexp")


@pytest.mark.gpu
def test_a_gpu_in_use_is_named():
    import torch

    torch.zeros(1, device="cuda")
    found = environment()
    assert found["gpu"] == torch.cuda.get_device_name()
    assert found["gpu_memory"] == torch.cuda.get_device_properties(0).total_memory
    assert found["cuda"] == torch.version.cuda
