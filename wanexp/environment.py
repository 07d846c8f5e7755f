"""Where a trial ran: machine, versions, revision of the working folder. Plain values."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

PACKAGES = (
    "accelerate",
    "av",
    "diffusers",
    "ftfy",
    "hydra-core",
    "lpips",
    "mlflow",
    "numpy",
    "omegaconf",
    "opencv-python-headless",
    "pandas",
    "pillow",
    "safetensors",
    "scikit-image",
    "scipy",
    "torch",
    "torchsde",
    "torchvision",
    "transformers",
)
"""Whose versions can change pixels or numbers."""

GIT_PATIENCE = 5
"""Seconds that git may take (a folder on a sleeping network disk)."""


def environment(folder: Path | None = None) -> dict[str, object]:
    """Python, platform, CPU, GPU, package versions, and the git revision of ``folder``.

    ``folder`` is the working folder by default. The GPU is named only where this process uses
    CUDA already: asking would take hundreds of megabytes of its memory.
    """
    return {
        "wanexp": _version("wanexp"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "cpu": cpu_model(),
        "cores": cores(),
        **gpu(),
        "packages": packages(),
        "git": git_revision(Path.cwd() if folder is None else folder),
    }


@functools.cache
def cpu_model() -> str | None:
    """The processor's own name, such as ``AMD EPYC 9354``; None where the system hides it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass  # no Linux
    return platform.processor() or None


def cores() -> int | None:
    """Cores that this process may use, which a container or a job makes fewer."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def gpu() -> dict[str, object]:
    """``gpu`` (its name), ``gpu_memory`` (bytes) and ``cuda``; None without one in use."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {"gpu": None, "gpu_memory": None, "cuda": None}
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    return {
        "gpu": properties.name,
        "gpu_memory": properties.total_memory,
        "cuda": torch.version.cuda,
    }


def gpu_of_machine() -> dict[str, object]:
    """``gpu``, asking for the card where torch sees one, used already or not."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.init()
    return gpu()


@functools.cache
def packages() -> dict[str, str]:
    """Installed versions of the packages that can change a result."""
    found = {name: _version(name) for name in PACKAGES}
    return {name: version for name, version in found.items() if version is not None}


@functools.cache
def git_revision(folder: Path) -> dict[str, object] | None:
    """``revision`` and ``dirty`` (tracked files changed) of the checkout that holds ``folder``.

    None outside a checkout or without git. Read once: a process runs the code that it loaded.
    """
    revision = _git(folder, "rev-parse", "HEAD")
    if not revision:
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"revision": revision, "dirty": None if changes is None else bool(changes)}


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            check=True,
            capture_output=True,
            text=True,
            timeout=GIT_PATIENCE,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
