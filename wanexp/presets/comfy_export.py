"""A plan → a ComfyUI workflow of core nodes, in API format.

Each stage becomes the simplest node that runs exactly its levels: KSampler, KSamplerAdvanced, or
SamplerCustomAdvanced with levels of its own. What no core node does is refused by name.

A stage whose experts change is written as one node an expert where that changes nothing: its
sampler keeps no history and draws no noise. Such nodes are titled ``NAME 1/2``, ``NAME 2/2``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from wanexp.config import Stage, Trial
from wanexp.plan import Plan, PlannedStage
from wanexp.presets.comfy_levels import (
    TO_THE_END,
    Levels,
    find_slice,
    is_curve,
    same_levels,
    schedule,
)
from wanexp.presets.comfy_nodes import Files, Graph, GraphBuilder, Link
from wanexp.sampler_facts import SAMPLER_FACTS, evaluations
from wanexp.schedules import TABLE_SIZE
from wanexp.seeds import stage_seed
from wanexp.strict import ConfigError

TILE, TILE_OVERLAP, WHOLE_VIDEO = 256, 64, 4096
"""As diffusers' AutoencoderKLWan tiles: 256 px, every 192 px, never in time."""

LAST_PERCENT = 1 - 1 / TABLE_SIZE
"""Of the way from sigma 1 to 0 in time: the last level above 0 of the model's table."""

PAGE_DIGITS = {
    "cfg": 1,
    "shift": 2,
    "denoise": 2,
    "strength_model": 2,
    "sigma_max": 2,
    "sigma": 3,
}
"""Decimals to which ComfyUI's page rounds a setting when it opens a workflow; its API does not."""


@dataclass(frozen=True, kw_only=True)
class _Part:
    """What one sampler node runs: a stage, or the part of it that one expert answers."""

    stage: PlannedStage
    asked: Stage
    levels: Levels
    expert: str
    adds_noise: bool
    seed: int
    title: str


@dataclass(frozen=True, kw_only=True)
class _Inputs:
    """Where every sampler gets its conditions from."""

    positive: Link
    negative: Link


def comfyui_workflow(trial: Trial, plan: Plan, files: Files, name: str) -> Graph:
    """The nodes that make a trial's video; ``name`` is that of the file that they save.

    Raises:
        ConfigError: For the first thing that no core node of ComfyUI does.
    """
    build = GraphBuilder()
    inputs, latent, vae = _conditions(build, trial, files)
    totals = _totals(trial, plan)
    for stage in plan.stages:
        for part in _parts(trial, stage):
            model = _model(build, part, files, trial)
            latent = _sampler(build, part, model, inputs, latent, totals), 0
    _video(build, trial, latent, vae, name)
    return build.nodes


def notes(trial: Trial, plan: Plan, graph: Graph) -> list[str]:
    """What an exported workflow does not promise."""
    found = []
    drawing = [s for s in plan.stages if SAMPLER_FACTS[s.sampler].stochastic == "normal"]
    if drawing:
        names = ", ".join(f"{stage.name} ({stage.sampler})" for stage in drawing)
        found.append(
            f"{names}: ComfyUI draws this sampler's noise on the device, so the video is another of"
            " the same kind."
        )
    if any(stage_seed(trial.seed, stage.index) >= 2**53 for stage in plan.stages):
        found.append("The seeds are above 2^53, which ComfyUI's page rounds; its API does not.")
    rounded = _rounded_by_page(graph)
    if rounded:
        found.append(
            f"ComfyUI's page would round {', '.join(rounded)}: post the file to /prompt, which"
            " keeps every digit."
        )
    return found


def _rounded_by_page(graph: Graph) -> list[str]:
    return [
        f"{key} {value:.6g} of {node.title or node.type}"
        for node in graph.values()
        for key, value in node.inputs.items()
        if key in PAGE_DIGITS and isinstance(value, int | float)
        if round(value, PAGE_DIGITS[key]) != value
    ]


def _conditions(build: GraphBuilder, trial: Trial, files: Files) -> tuple[_Inputs, Link, Link]:
    """The nodes before the first sampler: conditions, the empty latent, the VAE."""
    recipe, case = trial.recipe, trial.case
    clip = build.add("CLIPLoader", {"clip_name": files.clip, "type": "wan"}), 0
    vae = build.add("VAELoader", {"vae_name": files.vae}), 0
    texts = [
        (build.add("CLIPTextEncode", {"text": escaped(text), "clip": clip}, title), 0)
        for title, text in (("prompt", case.prompt), ("negative prompt", case.negative_prompt))
    ]
    plain = _Inputs(positive=texts[0], negative=texts[1])
    sizes = {
        "width": recipe.width,
        "height": recipe.height,
        "length": recipe.frames,
        "batch_size": 1,
    }
    if not recipe.model.takes_image:
        return plain, (build.add("EmptyHunyuanLatentVideo", sizes), 0), vae
    seen: dict[str, object] = {"vae": vae, **sizes}
    if case.image is not None:
        seen["start_image"] = build.add("LoadImage", {"image": files.image}), 0
    if recipe.model.condition == "first_frame":
        return plain, (build.add("Wan22ImageToVideoLatent", seen), 0), vae
    start = build.add("WanImageToVideo", {"positive": texts[0], "negative": texts[1], **seen})
    return _Inputs(positive=(start, 0), negative=(start, 1)), (start, 2), vae


def escaped(text: str) -> str:
    """A prompt whose parentheses ComfyUI leaves alone; bare ones would weight the words in them."""
    return text.replace("(", "\\(").replace(")", "\\)")


def _parts(trial: Trial, stage: PlannedStage) -> list[_Part]:
    recipe = trial.recipe
    if stage.step_cache.on:
        raise _refused(stage, f"no core node does what step_cache {stage.step_cache.kind} does")
    if stage.takeover == "renoise" and stage.previous_end > 0:
        raise _refused(
            stage,
            f"renoises a latent that still has noise (sigma {stage.previous_end:.4g}); ComfyUI"
            " would add the noise on top of it; let the stage before run to 0",
        )
    held = recipe.model.condition == "first_frame" and trial.case.image is not None
    if held and (stage.sigma_end or stage.previous_end):
        raise _refused(
            stage,
            "hands over a latent with noise, which ComfyUI would take for the known first frame of"
            f" {recipe.model.name}; let every stage run to 0",
        )
    levels = (stage.sigma_start, *stage.sigmas[1:])
    if stage.sampler.startswith("uni_pc") and len(levels) == 2:
        raise _refused(stage, "ComfyUI's uni_pc takes no step where there is only one")
    runs = _runs(stage, levels)
    return [
        _Part(
            stage=stage,
            asked=recipe.stages[stage.index],
            levels=part,
            expert=expert,
            adds_noise=number == 1 and stage.takeover != "continue",
            seed=stage_seed(trial.seed, stage.index),
            title=stage.name if len(runs) == 1 else f"{stage.name} {number}/{len(runs)}",
        )
        for number, (part, expert) in enumerate(runs, 1)
    ]


def _runs(stage: PlannedStage, levels: Levels) -> list[tuple[Levels, str]]:
    """The stage cut where its expert changes: levels, and who answers there."""
    if len(set(stage.experts)) == 1:
        return [(levels, stage.experts[0])]
    facts = SAMPLER_FACTS[stage.sampler]
    at = _change(stage)
    if not facts.one_step or facts.stochastic != "none":
        what = "a history" if facts.stochastic == "none" else "one stream of noise"
        raise _refused(
            stage,
            f"{stage.sampler} keeps {what} while the {stage.experts[0]} expert gives way to another"
            f" at sigma {at:.4g}, and ComfyUI's samplers have one model; make two stages of it"
            f" (sigma_end: {at:.4g} and one that continues) or ask one expert",
        )
    answered, done = [], 0
    for s, t in pairwise(levels):
        count = len(evaluations(stage.sampler, [s, t]))
        experts = stage.experts[done : done + count]
        if len(set(experts)) > 1:
            raise _refused(
                stage,
                f"{stage.sampler} asks two experts within the step from sigma {s:.4g}, and"
                " ComfyUI's samplers have one model",
            )
        answered.append((s, t, experts[0]))
        done += count
    return [
        ((steps[0][0], *(t for _, t, _ in steps)), expert)
        for expert, steps in ((who, list(own)) for who, own in groupby(answered, lambda a: a[2]))
    ]


def _change(stage: PlannedStage) -> float:
    """The first level that another expert answers at."""
    pairs = zip(stage.evaluation_sigmas, stage.experts, strict=True)
    return next(sigma for sigma, expert in pairs if expert != stage.experts[0])


def _model(build: GraphBuilder, part: _Part, files: Files, trial: Trial) -> Link:
    """The expert, wearing the stage's LoRAs, at the stage's shift."""
    file = files.experts[trial.recipe.model.experts.index(part.expert)]
    model: Link = build.add("UNETLoader", {"unet_name": file, "weight_dtype": "default"}), 0
    for lora, strength in part.stage.loras:
        name = lora.replace("\\", "/").rsplit("/", 1)[-1]
        worn = {"model": model, "lora_name": name, "strength_model": strength}
        loader = build.add("LoraLoaderModelOnly", worn)
        model = loader, 0
    return build.add("ModelSamplingSD3", {"model": model, "shift": part.stage.shift}), 0


def _sampler(
    build: GraphBuilder,
    part: _Part,
    model: Link,
    inputs: _Inputs,
    latent: Link,
    totals: Sequence[int],
) -> str:
    stage = part.stage
    shared = {
        "model": model,
        "cfg": stage.cfg,
        "sampler_name": stage.sampler,
        "scheduler": stage.scheduler,
        "positive": inputs.positive,
        "negative": inputs.negative,
        "latent_image": latent,
    }
    denoise = 1.0 if part.asked.denoise is None else part.asked.denoise
    if part.adds_noise and part.levels[-1] == 0:
        for steps in totals:
            run = schedule(
                stage.scheduler, steps, stage.shift, denoise=denoise, sampler=stage.sampler
            )
            if same_levels(run, part.levels):
                own = {"seed": part.seed, "steps": steps, "denoise": denoise}
                return build.add("KSampler", {**shared, **own}, part.title)
    cut = find_slice(part.levels, stage.scheduler, stage.shift, totals, sampler=stage.sampler)
    if cut is None:
        return _custom_sampler(build, part, model, inputs, latent, totals)
    leaves = part.levels[-1] > 0
    own = {
        "add_noise": "enable" if part.adds_noise else "disable",
        "noise_seed": part.seed,
        "steps": cut.steps,
        "start_at_step": cut.start,
        "end_at_step": cut.end if leaves else TO_THE_END,
        "return_with_leftover_noise": "enable" if leaves else "disable",
    }
    return build.add("KSamplerAdvanced", {**shared, **own}, part.title)


def _custom_sampler(
    build: GraphBuilder,
    part: _Part,
    model: Link,
    inputs: _Inputs,
    latent: Link,
    totals: Sequence[int],
) -> str:
    stage = part.stage
    given = {
        "sampler": (build.add("KSamplerSelect", {"sampler_name": stage.sampler}), 0),
        "sigmas": _sigmas(build, part, model, totals),
        "latent_image": latent,
    }
    guide = {
        "model": model,
        "positive": inputs.positive,
        "negative": inputs.negative,
        "cfg": stage.cfg,
    }
    if not part.adds_noise and SAMPLER_FACTS[stage.sampler].stochastic != "none":
        # DisableNoise would seed the sampler's own draws with 0.
        seeded = {"add_noise": False, "noise_seed": part.seed}
        return build.add("SamplerCustom", {**guide, **given, **seeded}, part.title)
    if part.adds_noise:
        noise = build.add("RandomNoise", {"noise_seed": part.seed})
    else:
        noise = build.add("DisableNoise", {})
    guider = build.add("CFGGuider", guide)
    links = {"noise": (noise, 0), "guider": (guider, 0)}
    return build.add("SamplerCustomAdvanced", {**links, **given}, part.title)


def _sigmas(build: GraphBuilder, part: _Part, model: Link, totals: Sequence[int]) -> Link:
    """Nodes that give the levels: a curve, a part of a schedule, or the numbers themselves."""
    stage, levels = part.stage, part.levels
    if is_curve(levels, stage.scheduler, stage.shift):
        # A node gives the last level, which the page would round to 0.
        last = {"model": model, "sampling_percent": LAST_PERCENT, "return_actual_sigma": False}
        end = build.add("SamplingPercentToSigma", last), 0
        curve = {"steps": len(levels) - 1, "sigma_max": levels[0], "sigma_min": end}
        if stage.scheduler == "karras":
            return build.add("KarrasScheduler", {**curve, "rho": 7.0}), 0
        return build.add("ExponentialScheduler", curve), 0
    where = levels, stage.scheduler, stage.shift, totals
    cut = find_slice(*where) or find_slice(*where, free_start=True)
    if cut is None:
        return build.add("ManualSigmas", {"sigmas": ", ".join(f"{s:.9f}" for s in levels)}), 0
    whole = {"model": model, "scheduler": stage.scheduler, "steps": cut.steps, "denoise": 1.0}
    sigmas: Link = build.add("BasicScheduler", whole), 0
    grid = schedule(stage.scheduler, cut.steps, stage.shift)
    if cut.end < len(grid) - 1:
        sigmas = build.add("SplitSigmas", {"sigmas": sigmas, "step": cut.end}), 0
    if cut.start > 0:
        sigmas = build.add("SplitSigmas", {"sigmas": sigmas, "step": cut.start}), 1
    if not same_levels(grid[cut.start : cut.start + 1], levels[:1]):
        sigmas = build.add("SetFirstSigma", {"sigmas": sigmas, "sigma": levels[0]}), 0
    return sigmas


def _totals(trial: Trial, plan: Plan) -> list[int]:
    """Lengths of the schedules that a stage may be a part of, the recipe's own first."""
    recipe = trial.recipe
    asked = [recipe.steps, *(stage.steps for stage in recipe.stages)]
    own = [stage.steps for stage in plan.stages]
    longer = [
        int(steps / stage.denoise)
        for stage in recipe.stages
        if stage.denoise and (steps := stage.steps or recipe.steps)
    ]
    return list(dict.fromkeys(n for n in (*asked, *own, *longer) if n))


def _video(build: GraphBuilder, trial: Trial, latent: Link, vae: Link, name: str) -> None:
    if trial.memory.vae_tiling:
        tiles = {
            "tile_size": TILE,
            "overlap": TILE_OVERLAP,
            "temporal_size": WHOLE_VIDEO,
            "temporal_overlap": 8,
        }
        frames = build.add("VAEDecodeTiled", {"samples": latent, "vae": vae, **tiles})
    else:
        frames = build.add("VAEDecode", {"samples": latent, "vae": vae})
    video = build.add("CreateVideo", {"images": (frames, 0), "fps": float(trial.recipe.fps)})
    form = {"filename_prefix": f"wanexp/{name}", "format": "mp4", "codec": "h264"}
    build.add("SaveVideo", {"video": (video, 0), **form})


def _refused(stage: PlannedStage, why: str) -> ConfigError:
    return ConfigError(f"comfyui: recipe.stages.{stage.name}: {why}")
