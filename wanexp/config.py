"""What can be asked for: Stage, Recipe, Case, Trial. Frozen, checked once at the border.

Sizes are pixels, boxes are (x0, y0, x1, y1) in pixels of the source image file, ``sigma`` is a
flow-matching noise level in [0, 1] (1 is pure noise).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from wanexp.images import check_image, image_digest, image_path
from wanexp.memory import Memory
from wanexp.models import MODELS, Model, fingerprint, weights_folder
from wanexp.sampler_facts import ALIASES, REFUSED, SAMPLER_FACTS
from wanexp.schedules import SCHEDULES
from wanexp.step_cache import SKIPS_BLOCKS, StepCache
from wanexp.strict import ConfigError, build, known
from wanexp.weights.files import HUB_ID, find_parts, weights_fingerprint

Box = tuple[float, float, float, float]

NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stretch of sampling.

    It takes over in exactly one way: with ``denoise`` (the last steps of a longer schedule, as
    ComfyUI's KSampler), with ``sigma_start`` (the noise level itself), or, with neither, by
    continuing where the stage before stopped. The first stage starts from pure noise.

    Attributes:
        steps, scheduler, shift: None means the recipe's.
        cfg: Classifier-free guidance scale; None means the model's own; 1 makes one model call.
        denoise: In (0, 1]; a share of *steps*, not of noise.
        sigma_start: In (0, 1]; the level to which the hand-over is noised.
        sigma_end: Where a split stage hands over; None runs to 0.
        expert: ``auto`` follows the model's boundary for each model call.
        loras: Adapter file or Hub id to strength.
        step_cache: None means the recipe's.
    """

    name: str
    sampler: str = "dpmpp_2m"
    steps: int | None = None
    scheduler: str | None = None
    shift: float | None = None
    cfg: float | None = None
    denoise: float | None = None
    sigma_start: float | None = None
    sigma_end: float | None = None
    expert: str = "auto"
    loras: Mapping[str, float] = field(default_factory=dict)
    step_cache: StepCache | None = None

    def __post_init__(self) -> None:
        where = f"recipe.stages.{self.name}"
        if not NAME.fullmatch(self.name):
            raise ConfigError(f"{where}: a stage name is lower-case letters, digits and _")
        if self.sampler in REFUSED:
            raise ConfigError(
                f"{where}.sampler: {self.sampler} is refused: {REFUSED[self.sampler]}"
            )
        known(f"{where}.sampler", "sampler", {**SAMPLER_FACTS, **ALIASES}, self.sampler)
        object.__setattr__(self, "sampler", ALIASES.get(self.sampler, self.sampler))
        _check_schedule(where, self.steps, self.scheduler, self.shift)
        if self.denoise is not None and self.sigma_start is not None:
            raise ConfigError(f"{where}: give denoise or sigma_start, not both")
        for key in ("denoise", "sigma_start"):
            value = getattr(self, key)
            if value is not None and not 0 < value <= 1:
                raise ConfigError(f"{where}.{key}: expected a number in (0, 1], got {value:g}")
        if self.sigma_end is not None and not 0 <= self.sigma_end < 1:
            raise ConfigError(f"{where}.sigma_end: expected [0, 1), got {self.sigma_end:g}")
        if self.cfg is not None and self.cfg < 0:
            raise ConfigError(f"{where}.cfg: expected at least 0, got {self.cfg:g}")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides pixels except case and seed.

    Attributes:
        width, height, frames, fps: None means the model's own; frames are 4n + 1.
        steps, scheduler, shift: The one schedule that the stages of a split share, and the
            default of stages that run to the end; shift None means the model's.
        step_cache: Of the stages that have none of their own.
        files: Part (``experts.high``, ``vae``, …) to the single file that holds it; ``source``
            holds the others.
    """

    model: Model
    source: str
    revision: str | None
    width: int
    height: int
    frames: int
    fps: int
    steps: int | None
    scheduler: str
    shift: float
    stages: tuple[Stage, ...]
    step_cache: StepCache = field(default_factory=StepCache)
    files: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        multiple, stride = self.model.size_multiple, self.model.frame_stride
        for key in ("width", "height"):
            value = getattr(self, key)
            if value < multiple or value % multiple:
                low = max(multiple, value // multiple * multiple)
                raise ConfigError(
                    f"recipe.{key}: {self.model.name} needs a multiple of {multiple}, got {value}"
                    f" (nearest: {low} or {low + multiple})"
                )
        if self.frames < 1 or (self.frames - 1) % stride:
            low = max(0, (self.frames - 1) // stride) * stride + 1
            raise ConfigError(
                f"recipe.frames: {self.model.name} makes {stride}n + 1 frames, got {self.frames}"
                f" (nearest: {low} or {low + stride})"
            )
        if self.fps < 1:
            raise ConfigError(f"recipe.fps: expected at least 1, got {self.fps}")
        if not self.stages:
            raise ConfigError("recipe.stages: a recipe needs at least one stage")
        _check_schedule("recipe", self.steps, self.scheduler, self.shift)
        experts = {"auto": None, **dict.fromkeys(self.model.experts)}
        for stage in self.stages:
            known(f"recipe.stages.{stage.name}.expert", "expert", experts, stage.expert)
        self._check_ratios()

    def _check_ratios(self) -> None:
        caches = {"recipe": self.step_cache}
        caches |= {f"recipe.stages.{s.name}": s.step_cache for s in self.stages if s.step_cache}
        for where, cache in caches.items():
            for expert in self.model.experts if cache.kind == "mag" else ():
                if expert not in (cache.ratios or {}):
                    raise ConfigError(
                        f"{where}.step_cache.ratios: none for the {expert} expert of"
                        f" {self.model.name} (have: {', '.join(cache.ratios or {})})"
                    )


@dataclass(frozen=True, kw_only=True)
class Case:
    """One input, and why it is in the suite.

    Attributes:
        image: A file, or ``skimage:NAME`` for a picture that ships with scikit-image; None for a
            video that is made from words alone.
        crop: The part to use, before it is cut to the recipe's shape and resized; None is all.
        face_box: Where the face is; None lets the metric look for it.
        regions: Named boxes whose detail is measured on its own (readable text, a logo).
        held_out: Kept back for confirming a winner; never used while choosing.
    """

    name: str
    image: str | None = None
    prompt: str
    negative_prompt: str = ""
    crop: Box | None = None
    face_box: Box | None = None
    regions: Mapping[str, Box] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    held_out: bool = False
    why: str = ""

    def __post_init__(self) -> None:
        boxes = {"crop": self.crop, "face_box": self.face_box}
        boxes |= {f"regions.{name}": box for name, box in self.regions.items()}
        given = {key: box for key, box in boxes.items() if box is not None}
        if self.image is None:
            for key in given:
                raise ConfigError(f"case.{self.name}.{key}: a part of an image, and there is none")
            return
        width, height = check_image(f"case.{self.name}.image", self.image)
        for key, (x0, y0, x1, y1) in given.items():
            if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
                raise ConfigError(
                    f"case.{self.name}.{key}: expected x0 < x1 ≤ {width} and y0 < y1 ≤ {height}"
                    f" (the image's size), got {[x0, y0, x1, y1]}"
                )


@dataclass(frozen=True, kw_only=True)
class Trial:
    """recipe × case × seed: one video to be."""

    recipe: Recipe
    case: Case
    seed: int
    memory: Memory = field(default_factory=Memory)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**53:
            raise ConfigError(f"seed: expected a whole number in [0, 2^53), got {self.seed}")
        if self.case.image is None and self.recipe.model.needs_image:
            raise ConfigError(
                f"case.{self.case.name}.image: {self.recipe.model.name} makes video from an image,"
                " and this case has none; give it one, or a model that goes by words"
                f" ({', '.join(name for name, m in MODELS.items() if not m.needs_image)})"
            )
        if self.memory.offload == "group":
            self._check_caches()

    def _check_caches(self) -> None:
        """Layers that travel are fetched in the order of their use, which skipping them breaks."""
        caches = [self.recipe.step_cache, *(stage.step_cache for stage in self.recipe.stages)]
        for cache in caches:
            if cache is not None and cache.kind in SKIPS_BLOCKS:
                raise ConfigError(
                    f"recipe.step_cache.kind: {cache.kind} leaves out layers, which goes wrong"
                    " where they travel ahead of their use (memory.offload=group); use"
                    " memory.offload=model or taylorseer"
                )


@dataclass(frozen=True, kw_only=True)
class _ModelChoice:
    name: str
    source: str | None = None
    revision: str | None = None
    experts: Mapping[str, str | None] = field(default_factory=dict)
    vae: str | None = None
    text_encoder: str | None = None
    tokenizer: str | None = None

    def files(self, model: Model) -> dict[str, str]:
        """Part to the single file that was given for it."""
        for name in self.experts:
            known("model.experts", "expert", dict.fromkeys(model.experts), name)
        single = {key: getattr(self, key) for key in ("vae", "text_encoder", "tokenizer")}
        experts = {f"experts.{name}": file for name, file in self.experts.items()}
        return {part: file for part, file in {**experts, **single}.items() if file is not None}


@dataclass(frozen=True, kw_only=True)
class _RecipeTree:
    stages: Mapping[str, object]
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    fps: int | None = None
    steps: int | None = None
    scheduler: str = "simple"
    shift: float | None = None
    step_cache: StepCache = field(default_factory=StepCache)


def trial_from(tree: Mapping[str, object]) -> Trial:
    """The trial that a composed configuration asks for (``model recipe case memory seed``).

    Raises:
        ConfigError: One sentence with the path of the value and what was expected.
    """
    if tree.get("seed") is None:
        raise ConfigError("seed: a trial needs a seed (0 is one)")
    if not isinstance(tree["seed"], int) or isinstance(tree["seed"], bool):
        raise ConfigError(f"seed: expected a whole number, got {tree['seed']!r}")
    recipe = recipe_from(tree.get("model"), tree.get("recipe"))
    case = build(Case, tree.get("case"), "case")
    return Trial(
        recipe=recipe,
        case=case if recipe.model.takes_image else in_words(case),
        seed=tree["seed"],
        memory=build(Memory, tree.get("memory") or {}, "memory"),
    )


def in_words(case: Case) -> Case:
    """What a model that looks at no picture is told of a case."""
    return replace(case, image=None, crop=None, face_box=None, regions={})


def recipe_from(model_tree: object, recipe_tree: object) -> Recipe:
    """A recipe with the model's own values filled in where the tree gives none."""
    choice = build(_ModelChoice, model_tree, "model")
    known("model.name", "model", MODELS, choice.name)
    model = MODELS[choice.name]
    source = choice.source or model.source
    if weights_folder(source) is None and not HUB_ID.fullmatch(source):
        raise ConfigError(f"model.source: {source!r} is neither a folder nor a Hub id (owner/name)")
    files = find_parts(model, source, choice.files(model))
    given = build(_RecipeTree, recipe_tree, "recipe")
    return Recipe(
        model=model,
        source=source,
        revision=choice.revision or model.revision,
        width=model.width if given.width is None else given.width,
        height=model.height if given.height is None else given.height,
        frames=model.frames if given.frames is None else given.frames,
        fps=model.fps if given.fps is None else given.fps,
        steps=given.steps,
        scheduler=given.scheduler,
        shift=model.shift if given.shift is None else given.shift,
        step_cache=given.step_cache,
        stages=tuple(
            build(Stage, {**_mapping(_at(name), stage), "name": name}, _at(name))
            for name, stage in given.stages.items()
        ),
        files=files,
    )


def model_tree(recipe: Recipe) -> dict[str, object]:
    """The model as ``recipe_from`` takes it back: its name, and where its weights lie."""
    tree: dict[str, object] = {
        "name": recipe.model.name,
        "source": recipe.source,
        "revision": recipe.revision,
    }
    single = {part: file for part, file in recipe.files.items() if "." not in part}
    experts = {part.partition(".")[2]: file for part, file in recipe.files.items() if "." in part}
    return {**tree, **({"experts": experts} if experts else {}), **single}


def weights_of(recipe: Recipe) -> str:
    """Sixteen hex digits that change when the recipe's weights do."""
    return weights_fingerprint(recipe.model, recipe.source, recipe.revision, recipe.files)


def trial_digest(trial: Trial, plan_key: object) -> str:
    """Sixteen hex digits of all that decides a trial's video and its measurements.

    ``plan_key`` is the explicit plan (``Plan.key()``): two recipes with equal plans are one trial.
    """
    return digest(
        {**recipe_content(trial, plan_key), **case_content(trial.case), "seed": trial.seed}
    )


def recipe_content(trial: Trial, plan_key: object) -> dict[str, object]:
    """All that decides a trial's video but its case and seed."""
    recipe = trial.recipe
    return {
        "model": recipe.model.name,
        "weights": weights_of(recipe),
        "size": [recipe.width, recipe.height, recipe.frames, recipe.fps],
        "loras": {path: fingerprint(path, None) for stage in recipe.stages for path in stage.loras},
        "plan": plan_key,
        "memory": trial.memory.bits(),
    }


def case_content(case: Case) -> dict[str, object]:
    """All of a case that decides a video or its measurements: the picture, not its file's name."""
    return {
        "image": None if case.image is None else image_digest(image_path(case.image)),
        "crop": case.crop,
        "prompts": [case.prompt, case.negative_prompt],
        "boxes": [case.face_box, dict(case.regions)],
    }


def digest(content: object, length: int = 16) -> str:
    """``length`` hex digits of plain values."""
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def _mapping(where: str, tree: object) -> Mapping[str, object]:
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{where}: expected a mapping of the stage's settings, got {tree!r}")
    if "name" in tree:
        raise ConfigError(f"{where}.name: a stage is named by its key, not by a setting")
    return {str(key): value for key, value in tree.items()}


def _at(name: str) -> str:
    return f"recipe.stages.{name}"


def _check_schedule(
    where: str, steps: int | None, scheduler: str | None, shift: float | None
) -> None:
    if steps is not None and steps < 1:
        raise ConfigError(f"{where}.steps: expected at least 1, got {steps}")
    if scheduler is not None:
        known(f"{where}.scheduler", "scheduler", SCHEDULES, scheduler)
    if shift is not None and shift <= 0:
        raise ConfigError(f"{where}.shift: expected more than 0, got {shift:g}")
