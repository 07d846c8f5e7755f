"""A trial → a Python script that makes its video with torch and diffusers, and without wanexp.

The formulas in it are wanexp's own text (``wanexp.presets.bundle``), the levels are the plan's, so
its latents are those of wanexp on the same device.
"""

from __future__ import annotations

import html
import pprint
import re
import textwrap
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from wanexp.config import Trial
from wanexp.images import image_path
from wanexp.models import weights_folder
from wanexp.plan import Plan, PlannedStage
from wanexp.presets.bundle import bundle, sampler_functions
from wanexp.sampler_facts import SAMPLER_FACTS, integrated_levels
from wanexp.strict import ConfigError
from wanexp.weights.files import comfy_folder

EXPERT_FOLDERS = ("transformer", "transformer_2")
WIDTH = 98

GIVEN = ("PlannedStage", "integrated_levels", "image_path")
"""What the script defines itself."""

ALWAYS = (
    ("wanexp.generate", "take_over"),
    ("wanexp.denoise", "guided"),
    ("wanexp.denoise", "holding"),
    ("wanexp.noise", "initial_noise"),
    ("wanexp.images", "load_source"),
)
SOURCES = {
    "normal": ("_normal_source", "_normal_source(LATENT_SHAPE, seed)"),
    "brownian": ("_brownian_source", "_brownian_source(LATENT_SHAPE, seed, stage.levels)"),
}
IMPORTS = (
    "import argparse",
    "import html",
    "import re",
    "from importlib.util import find_spec",
    "from dataclasses import dataclass",
    "from pathlib import Path",
    "from PIL import Image",
    "import numpy as np",
    "import torch",
    "from diffusers import AutoencoderKLWan, WanTransformer3DModel",
    "from transformers import AutoTokenizer, UMT5EncoderModel",
)
NO_LORAS = "def put_on(transformer, loras):\n    return lambda: None"
LORAS = """\
def put_on(transformer, loras):
    '''Let an expert wear LoRAs; returns what takes them off.'''
    read = [(read_adapter(lora_file(name)), strength) for name, strength in loras]
    return wear(transformer, read)


def lora_file(name):
    '''A file, or ``owner/name/file.safetensors`` of the Hugging Face Hub.'''
    if Path(name).expanduser().is_file():
        return Path(name).expanduser()
    from huggingface_hub import hf_hub_download

    owner, repository, file = name.split("/", 2)
    return Path(hf_hub_download(f"{owner}/{repository}", file))"""
STANDARD = """
    argparse collections dataclasses functools html importlib itertools json logging math pathlib re
    typing
"""


def diffusers_script(trial: Trial, plan: Plan, title: str, about: Sequence[str]) -> str:
    """The script's text; ``about`` are lines for its head.

    Raises:
        ConfigError: It uses what the script does not do.
    """
    _check(trial, plan)
    used = {SAMPLER_FACTS[stage.sampler].stochastic for stage in plan.stages}
    worn = any(stage.loras for stage in plan.stages)
    functions = sampler_functions()
    wanted = [functions[stage.sampler] for stage in plan.stages]
    wanted += [*ALWAYS, *(("wanexp.noise", SOURCES[kind][0]) for kind in SOURCES if kind in used)]
    if worn:
        wanted += [("wanexp.backends.lora", name) for name in ("read_adapter", "wear")]
    found = bundle(list(dict.fromkeys(wanted)), GIVEN)
    text = files("wanexp.presets").joinpath("diffusers_script.txt").read_text(encoding="utf-8")
    parts = {
        "TITLE": _safe(title),
        "ABOUT": "\n".join(map(_safe, [*_wrapped(about), "", *_needs(trial, used)])),
        "IMPORTS": _imports([*IMPORTS, *found.imports]),
        "FACTS": _facts(trial),
        "STAGES": _stages(plan),
        "CODE": re.sub(r"  # (noqa|type:)[^\n]*", "", found.code),
        "NOISE": _noise(used),
        "LORAS": LORAS if worn else NO_LORAS,
    }
    return re.sub(r"@([A-Z]+)@", lambda match: parts[match[1]], text)


def _check(trial: Trial, plan: Plan) -> None:
    for stage in plan.stages:
        if stage.step_cache.on:
            raise ConfigError(
                f"diffusers: recipe.stages.{stage.name}: the script has no step_cache"
                f" ({stage.step_cache.kind})"
            )
    if trial.memory.weights != "dtype":
        raise ConfigError(
            f"diffusers: memory.weights: the script keeps weights as they are, not as"
            f" {trial.memory.weights}"
        )


def _safe(text: str) -> str:
    """Text that cannot end the docstring that it stands in."""
    return text.replace("\\", "/").replace('"""', "'''")


def _wrapped(lines: Sequence[str]) -> list[str]:
    return [part for line in lines for part in textwrap.wrap(line, WIDTH)]


def _needs(trial: Trial, used: set[str]) -> list[str]:
    packages = "torch, diffusers, transformers, numpy and Pillow"
    if "brownian" in used:
        packages += ", torchsde for its SDE sampler"
    picture = "--image picture.png " if trial.recipe.model.takes_image else ""
    return [
        f"It needs {packages}, and not wanexp:",
        "",
        f"    python THIS_FILE {picture}--prompt 'what happens' --out video.webp",
    ]


def _imports(lines: Sequence[str]) -> str:
    """Import lines, sorted, the standard library's first."""
    merged: dict[str, set[str]] = {}
    plain = set()
    for line in lines:
        words = line.split(" import ")
        if len(words) == 2:
            merged.setdefault(words[0], set()).update(words[1].split(", "))
        else:
            plain.add(line)
    every = [
        *plain,
        *(f"{head} import {', '.join(sorted(names))}" for head, names in merged.items()),
    ]
    order = sorted(every, key=lambda line: (line.startswith("from"), line))
    own = [line for line in order if line.split()[1].split(".")[0] in STANDARD.split()]
    return "\n".join([*own, "", *(line for line in order if line not in own)])


def _facts(trial: Trial) -> str:
    recipe, model, memory, case = trial.recipe, trial.recipe.model, trial.memory, trial.case
    source = model.source if comfy_folder(recipe.source) else recipe.source
    folder = weights_folder(source)
    experts = zip(model.experts, EXPERT_FOLDERS, strict=False)
    latent_frames = (recipe.frames - 1) // model.frame_stride + 1
    cells = recipe.height // model.vae_stride, recipe.width // model.vae_stride
    facts: Mapping[str, object] = {
        "MODEL": str(folder.resolve()) if folder else source,
        "REVISION": None if folder else recipe.revision,
        "EXPERTS": dict(experts),
        "CONDITION": model.condition,
        "MAX_TOKENS": model.max_tokens,
        "FRAME_STRIDE": model.frame_stride,
        "WIDTH": recipe.width,
        "HEIGHT": recipe.height,
        "FRAMES": recipe.frames,
        "FPS": recipe.fps,
        "LATENT_SHAPE": (1, model.latent_channels, latent_frames, *cells),
        "IMAGE": None if case.image is None else str(image_path(case.image).resolve()),
        "CROP": case.crop,
        "PROMPT": _mended(case.prompt),
        "NEGATIVE_PROMPT": _mended(case.negative_prompt),
        "SEED": trial.seed,
        "DTYPE": memory.dtype,
        "VAE_DTYPE": memory.vae_dtype,
        "VAE_TILING": memory.vae_tiling,
        "VAE_SLICING": memory.vae_slicing,
        "OFFLOAD": "none" if memory.offload == "none" else "model",
        "ATTENTION": memory.attention,
    }
    return "\n".join(f"{name} = {_literal(value, len(name) + 3)}" for name, value in facts.items())


def _mended(text: str) -> str:
    """A prompt with broken Unicode mended, so that the script needs no package for it."""
    import ftfy

    return html.unescape(html.unescape(ftfy.fix_text(text)))


def _literal(value: object, column: int) -> str:
    shown = pprint.pformat(value, width=100 - column, compact=True, sort_dicts=False)
    return shown.replace("\n", "\n" + " " * column)


def _stages(plan: Plan) -> str:
    lines = ["STAGES = ("]
    for stage in plan.stages:
        lines.append("    PlannedStage(")
        for name, value in _stage(stage).items():
            lines.append(f"        {name}={_literal(value, 9 + len(name))},")
        lines.append("    ),")
    return "\n".join([*lines, ")"])


def _stage(stage: PlannedStage) -> dict[str, object]:
    facts = SAMPLER_FACTS[stage.sampler]
    return {
        "name": stage.name,
        "index": stage.index,
        "takeover": stage.takeover,
        "previous_end": stage.previous_end,
        "sigma_start": stage.sigma_start,
        "levels": (stage.sigma_start, *stage.sigmas[1:]),
        "sigmas": tuple(integrated_levels(stage.sampler, stage.sigmas)),
        "sample": sampler_functions()[stage.sampler][1],
        "draws": facts.stochastic,
        "keep": 1 - facts.final_sigma if stage.sigma_end == 0 else 1.0,
        "cfg": stage.cfg,
        "experts": stage.experts,
        "loras": tuple((_found(lora), strength) for lora, strength in stage.loras),
    }


def _found(lora: str) -> str:
    """A LoRA's file from wherever the script runs; one on the Hub keeps its name."""
    file = Path(lora).expanduser()
    return str(file.resolve()) if file.is_file() else lora


def _noise(used: set[str]) -> str:
    """The body of ``noise_source``: only the kinds of noise that the stages draw."""
    lines = [
        f'    if stage.draws == "{kind}":\n        return {SOURCES[kind][1]}'
        for kind in SOURCES
        if kind in used
    ]
    return "\n".join([*lines, "    return None"])
