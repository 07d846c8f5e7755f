"""What works on this machine, and what to do about the rest: one line a check."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from wanexp.strict import ConfigError

if TYPE_CHECKING:
    from wanexp.config import Recipe

State = Literal["ok", "note", "fail"]

PACKAGES = (
    "torch",
    "torchvision",
    "diffusers",
    "transformers",
    "hydra-core",
    "mlflow",
    "opencv-python-headless",
    "av",
    "numpy",
)
ALEXNET = "alexnet-owt-7be5be79.pth"
"""The trunk that LPIPS puts its calibrated heads on; torchvision downloads it on first use."""
DISK_NEEDED = 2 << 30
MINIMUM_PYTHON = (3, 11)


@dataclass(frozen=True, kw_only=True)
class Check:
    """One finding; ``mend`` says what to do where it is not ``ok`` and ``detail`` does not."""

    name: str
    state: State
    detail: str
    mend: str = ""


def doctor_command(overrides: Sequence[str], *, as_json: bool) -> int:
    """Prints every check; 1 where one fails, 0 otherwise."""
    checks = examine(overrides)
    failed = any(check.state == "fail" for check in checks)
    if as_json:
        print(json.dumps({"ok": not failed, "checks": [asdict(check) for check in checks]}))
        return int(failed)
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    marks = {
        "ok": "[green]ok  [/green]",
        "note": "[yellow]note[/yellow]",
        "fail": "[red]FAIL[/red]",
    }
    for check in checks:
        console.print(f"{marks[check.state]} {check.name}: {check.detail}")
        if check.mend:
            console.print(f"       → {check.mend}")
    return int(failed)


def examine(overrides: Sequence[str]) -> list[Check]:
    """Every check, in an order in which one explains the next."""
    checks = [_python(), *_versions()]
    for examine_one in (_device, _memory, _torch_pair, _lpips, _faces, _mp4):
        checks.append(_guarded(examine_one))
    checks += _configured(overrides)
    return checks


def _guarded(check: Callable[[], Check]) -> Check:
    """A check that itself breaks is a finding, not a crash."""
    try:
        return check()
    except Exception as error:
        name = check.__name__.strip("_").replace("_", " ")
        detail = f"{type(error).__name__}: {error}"
        return Check(name=name, state="fail", detail=detail, mend="reinstall wanexp with uv sync")


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < MINIMUM_PYTHON:
        return Check(
            name="python", state="fail", detail=version, mend="use Python 3.11 or newer (uv does)"
        )
    return Check(name="python", state="ok", detail=f"{version} at {sys.executable}")


def _versions() -> list[Check]:
    found, missing = [], []
    for package in ("wanexp", *PACKAGES):
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
    checks = [Check(name="packages", state="ok", detail=", ".join(found))]
    if missing:
        checks.append(
            Check(
                name="packages missing",
                state="fail",
                detail=", ".join(missing),
                mend="install wanexp with its dependencies: uv sync, or uv pip install wanexp",
            )
        )
    return checks


def _device() -> Check:
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name()
        detail = f"{name}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free"
        return Check(name="device", state="ok", detail=detail)
    return Check(
        name="device",
        state="note",
        detail=f"no CUDA device; the CPU ({os.cpu_count()} cores) runs wan-mini only",
        mend="for Wan 2.2 itself, a CUDA card and its driver (nvidia-smi must list it)",
    )


def _memory() -> Check:
    import psutil

    memory = psutil.virtual_memory()
    detail = f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"
    if memory.available < DISK_NEEDED:
        return Check(
            name="memory", state="fail", detail=detail, mend="close programs; the demo wants 2 GiB"
        )
    return Check(name="memory", state="ok", detail=detail)


def _torch_pair() -> Check:
    """Whether torchvision's compiled operators fit torch: they fit exactly one version."""
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError, OSError) as error:
        return Check(
            name="torchvision",
            state="fail",
            detail=f"does not fit torch ({str(error).splitlines()[0]})",
            mend="let one resolver choose both from one index: uv sync, or"
            " uv pip install --reinstall torch torchvision",
        )
    return Check(name="torchvision", state="ok", detail="fits torch")


def _lpips() -> Check:
    try:
        importlib.import_module("lpips")
    except (ImportError, RuntimeError, OSError) as error:
        return Check(
            name="lpips",
            state="fail",
            detail=f"does not import ({str(error).splitlines()[0]})",
            mend="mend torchvision first; then uv pip install lpips",
        )
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / ALEXNET
    if path.is_file():
        return Check(name="lpips", state="ok", detail=f"weights at {path}")
    return Check(
        name="lpips",
        state="note",
        detail="imports; its AlexNet weights are not here yet",
        mend=f"put {ALEXNET} (from download.pytorch.org/models) into {path.parent}, or name it with"
        " lpips_weights=FILE",
    )


def _faces() -> Check:
    from wanexp.images import load_source
    from wanexp.metrics.faces import find_face

    box = find_face(load_source("skimage:astronaut.png", None, 256, 256))
    if box is None:
        return Check(
            name="face detection",
            state="fail",
            detail="finds no face in scikit-image's astronaut",
            mend="uv pip install 'opencv-python-headless<5' (version 5 has no cascades)",
        )
    return Check(name="face detection", state="ok", detail="finds the astronaut's face")


def _mp4() -> Check:
    import numpy as np

    from wanexp.video import read_video, write_video

    frames = np.linspace(0, 255, 5 * 32 * 32 * 3).astype(np.uint8).reshape(5, 32, 32, 3)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "check.mp4"
        write_video(path, frames, fps=12)
        count = len(read_video(path)[0])
    if count != len(frames):
        return Check(
            name="mp4",
            state="fail",
            detail=f"wrote {len(frames)} frames, read {count}",
            mend="uv pip install --reinstall av",
        )
    return Check(name="mp4", state="ok", detail="H.264 encodes and decodes")


def _configured(overrides: Sequence[str]) -> list[Check]:
    """What depends on the configuration: composing, the studies' disk, MLflow, the model."""
    from wanexp.compose import compose_tree
    from wanexp.config import recipe_from
    from wanexp.options import options_from

    try:
        tree = compose_tree(overrides)
        options = options_from(tree)
        recipe = recipe_from(tree["model"], tree["recipe"])
    except (ConfigError, FileNotFoundError) as error:
        mend = "correct the override, or reinstall wanexp if none was given"
        return [Check(name="configuration", state="fail", detail=str(error), mend=mend)]
    return [
        Check(name="configuration", state="ok", detail="composes"),
        _guarded(lambda: _disk(options.folder)),
        _guarded(lambda: _mlflow(tree, options.folder)),
        _guarded(lambda: _model(recipe)),
    ]


def _disk(studies: Path) -> Check:
    folder = next(p for p in (studies, *studies.parents) if p.is_dir())
    free = shutil.disk_usage(folder).free
    detail = f"{free / 2**30:.0f} GiB free for {studies}"
    if not os.access(folder, os.W_OK):
        mend = "choose another folder: studies=FOLDER"
        return Check(name="studies", state="fail", detail=f"cannot write to {folder}", mend=mend)
    if free < DISK_NEEDED:
        mend = "free some, or choose another folder: studies=FOLDER"
        return Check(name="studies", state="fail", detail=detail, mend=mend)
    return Check(name="studies", state="ok", detail=detail)


def _mlflow(tree: dict[str, object], studies: Path) -> Check:
    from wanexp.mirror import reachable
    from wanexp.tracking import tracking_from

    tracking = tracking_from(tree)
    if not tracking.enabled:
        return Check(name="mlflow", state="note", detail="switched off (tracking=none)")
    problem = reachable(tracking, studies)
    if problem:
        return Check(
            name="mlflow",
            state="fail",
            detail=problem,
            mend="start the server or correct tracking.uri; trials run without it, and wanexp sync"
            " catches up",
        )
    return Check(name="mlflow", state="ok", detail=tracking.uri or f"a SQLite file in {studies}")


def _model(recipe: Recipe) -> Check:
    from wanexp.backends.folder import check_source
    from wanexp.weights.files import described

    name = f"model {recipe.model.name}"
    try:
        found = check_source(recipe.model, recipe.source, recipe.revision, recipe.files)
    except ConfigError as error:
        return Check(name=name, state="fail", detail=str(error))
    lines = [f"{part} is {told}" for part, told in described(recipe.files).items()]
    if found.folder is not None:
        lines.append(f"{recipe.source} is complete" if not lines else f"the rest: {recipe.source}")
    return Check(name=name, state="ok", detail="; ".join(lines))
