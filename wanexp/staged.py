"""The stage loop with a memory: a stage that the store holds is taken from there, others are run.

A plan knows what decides a stage's result (``PlannedTrial.stage_keys``); what decides its last
bits besides, only the running machine knows: the device, the weights that a name stands for, the
versions of what computes. Text embeddings and encoded sources are kept in the same way.

Axes: B=1, C channels, F latent frames, h w latent cells; of the source H W 3.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wanexp.backends import Backend, Conditioning
from wanexp.cache import Entry, Store
from wanexp.config import digest
from wanexp.environment import cpu_model, packages
from wanexp.generate import OnEvaluation, StageEnd, generate
from wanexp.plan import PlannedStage
from wanexp.planned import KEY_LENGTH, PlannedTrial
from wanexp.seeds import stage_seed

CODE = (
    "backends",
    "denoise.py",
    "generate.py",
    "images.py",
    "models.py",
    "noise.py",
    "sampler_facts.py",
    "samplers",
    "seeds.py",
    "weights",
)
"""The part of wanexp that makes a latent of a plan and a picture."""

PACKAGES = ("diffusers", "ftfy", "numpy", "pillow", "torch", "torchsde", "transformers")
"""Whose versions can change a latent's bits."""


def run_stages(
    planned: PlannedTrial,
    conditioning: Conditioning,
    backend: Backend,
    store: Store | None,
    on_evaluation: OnEvaluation | None = None,
    around: Callable[[PlannedStage], AbstractContextManager[object]] = contextlib.nullcontext,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[StageEnd]:
    """The end of each of a trial's stages in turn, stored ones without a model call.

    The bits are those of ``generate`` alone. ``seconds`` and ``model_calls`` of a stored stage are
    those of the run that made it. ``around`` a stage's computing, and nothing else, its context is
    open. ``wait`` lets seconds pass while another process computes a stage.

    Raises:
        RuntimeError: A sampler called the model at other levels than the plan says.
    """
    machine = machine_digest(backend)
    seeds = [stage_seed(planned.trial.seed, k) for k in range(len(planned.plan.stages))]
    latent: Tensor | None = None
    for stage, key in zip(planned.plan.stages, planned.stage_keys, strict=True):
        rest = generate(
            planned.plan,
            conditioning,
            seeds,
            backend,
            first=stage.index,
            latent=latent,
            on_evaluation=on_evaluation,
        )
        make = functools.partial(_computed, rest, around(stage))
        if store is None:
            end = make()
        else:
            end, _ = store.fetch(
                digest({"stage": key, "machine": machine}, KEY_LENGTH),
                make=make,
                pack=functools.partial(_pack_end, planned),
                unpack=functools.partial(_unpack_end, stage, conditioning.latent_shape),
                wait=wait,
            )
        latent = end.latent
        yield end


def _computed(rest: Iterator[StageEnd], around: AbstractContextManager[object]) -> StageEnd:
    with around:
        return next(rest)


def encode_case(
    planned: PlannedTrial, source: np.ndarray | None, backend: Backend, store: Store | None
) -> Conditioning:
    """A trial's conditioning: of its words and, if any, a (H, W, 3) uint8 source of its size.

    Encoded once while trials of one case follow each other, and never where the store holds it.
    """
    trial = planned.trial
    guided = any(stage.guided for stage in planned.plan.stages)
    told = _Told(
        pixels=None if source is None else source.tobytes(),
        size=(trial.recipe.height, trial.recipe.width),
        prompt=trial.case.prompt,
        negative=trial.case.negative_prompt if guided else None,
        frames=trial.recipe.frames,
        model=trial.recipe.model.name,
        bits=tuple(trial.memory.bits().items()),
    )
    return _encode_once(told, backend, store)


@dataclass(frozen=True, kw_only=True)
class _Told:
    """All that decides a conditioning."""

    pixels: bytes | None
    size: tuple[int, int]
    prompt: str
    negative: str | None
    frames: int
    model: str
    bits: tuple[object, ...]


@functools.lru_cache(maxsize=2)
def _encode_once(told: _Told, backend: Backend, store: Store | None) -> Conditioning:
    height, width = told.size
    here = {"model": told.model, "bits": told.bits, "machine": machine_digest(backend)}

    def stored(kind: str, content: Mapping[str, object], make: Callable[[], Tensor]) -> Tensor:
        if store is None:
            return make()
        facts = {"model": told.model, "kind": kind}
        tensor, _ = store.fetch(
            digest({**here, **content}, KEY_LENGTH),
            make,
            pack=lambda tensor: Entry(arrays={"tensor": tensor.numpy()}, facts=facts),
            unpack=lambda entry: torch.tensor(entry.arrays["tensor"]),
        )
        return tensor

    def text(words: str) -> Tensor:
        return stored("text", {"text": words}, lambda: backend.encode_text(words))

    def image(pixels: bytes) -> Tensor:
        source = np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
        content = {"pixels": hashlib.sha256(pixels).hexdigest(), "shape": source.shape}
        return stored(
            "source",
            {**content, "frames": told.frames},
            lambda: backend.encode_image(source, told.frames),
        )

    return Conditioning(
        positive=text(told.prompt),
        negative=None if told.negative is None else text(told.negative),
        image=None if told.pixels is None else image(told.pixels),
        latent_shape=backend.latent_shape(width, height, told.frames),
    )


def _pack_end(planned: PlannedTrial, end: StageEnd) -> Entry:
    arrays = {"latent": end.latent.cpu().numpy()}
    if end.denoised is not end.latent:
        arrays["denoised"] = end.denoised.cpu().numpy()
    facts = {
        "model": planned.trial.recipe.model.name,
        "kind": "stage",
        "sigma": end.sigma,
        "seconds": end.seconds,
        "model_calls": end.model_calls,
    }
    return Entry(arrays=arrays, facts=facts)


def _unpack_end(stage: PlannedStage, shape: tuple[int, ...], entry: Entry) -> StageEnd:
    facts, latent = entry.facts, entry.arrays["latent"]
    denoised = latent if stage.sigma_end == 0 else entry.arrays["denoised"]
    for array in (latent, denoised):
        if array.shape != shape or array.dtype != np.float32:
            raise ValueError(f"expected {shape} float32, the entry holds {array.shape}")
    kept = torch.tensor(latent)
    return StageEnd(
        name=stage.name,
        latent=kept,
        sigma=stage.sigma_end,
        denoised=kept if denoised is latent else torch.tensor(denoised),
        seconds=float(str(facts["seconds"])),
        model_calls=int(str(facts["model_calls"])),
        stored=True,
    )


def machine_digest(backend: Backend) -> str:
    """Sixteen hex digits of all that decides a latent's last bits and that no plan knows."""
    cuda = backend.device.type == "cuda"
    device = torch.cuda.get_device_name(backend.device) if cuda else cpu_model()
    return digest(
        {
            "weights": backend.weights,
            "device": [backend.device.type, device],
            "packages": {name: packages().get(name) for name in PACKAGES},
            "code": _code_digest(),
        }
    )


@functools.cache
def _code_digest() -> str:
    here = Path(__file__).parent
    files = [here / name for name in CODE if name.endswith(".py")]
    folders = [here / name for name in CODE if not name.endswith(".py")]
    found = hashlib.sha256()
    for file in sorted([*files, *(file for folder in folders for file in folder.rglob("*.py"))]):
        found.update(f"{file.relative_to(here).as_posix()}:".encode())
        found.update(file.read_bytes())
    return found.hexdigest()
