"""A chain of ComfyUI's samplers → the recipe that wanexp runs the same levels by.

Every node is tried as each kind of stage that wanexp has; the one whose plan goes through the
node's own levels is taken. A node that no kind of stage fits is refused by name.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from wanexp.config import Recipe, recipe_from
from wanexp.models import MODELS
from wanexp.plan import Plan, make_plan
from wanexp.presets.comfy_chain import Chain, Run
from wanexp.presets.comfy_levels import find_slice, same_levels, schedule, share_of
from wanexp.sampler_facts import evaluations
from wanexp.schedules import SCHEDULES
from wanexp.seeds import stage_seed
from wanexp.strict import ConfigError

TITLE = re.compile(r"(?P<name>[a-z][a-z0-9_]*)(?: (?P<part>\d+)/(?P<parts>\d+))?")
"""Of a node that wanexp has written: its stage, and which part of it."""

REST = "the_rest"
"""A stand-in for the stages to come while a chain is read."""

MOST_STEPS = 100
"""Longer schedules are not looked for in levels that were typed in."""

Settings = dict[str, object]


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What a workflow asks, in wanexp's words.

    Attributes:
        recipe: As in ``conf/recipe/``.
        seed: The trial seed whose stages have the workflow's seeds; None where none has.
        notes: What did not come with it.
    """

    model: str
    recipe: Settings
    prompt: str
    negative_prompt: str
    image: str
    seed: int | None
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Shared:
    """The schedule on the recipe itself, which stages of a split share."""

    steps: int | None
    scheduler: str
    shift: float


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """One stage to be: what its node runs, or several nodes that are the parts of one stage."""

    run: Run
    name: str
    expert: str
    experts: tuple[str, ...] = ()
    """Of every evaluation, where ``auto`` has to give these."""


def import_chain(chain: Chain, where: str, experts: Mapping[str, str]) -> Imported:
    """The recipe of a chain.

    Args:
        chain: What the workflow runs.
        where: Its name, for errors.
        experts: Model file → expert, for files that do not say ``high`` or ``low``.

    Raises:
        ConfigError: For the first node that no stage of wanexp does.
    """
    asked = _merged([_asked(chain, run, where, experts) for run in chain.runs])
    names = _names(asked)
    asked = [replace(one, name=name) for one, name in zip(asked, names, strict=True)]
    _check_hand_overs(asked, where)
    recipe = _recipe(chain, asked, where)
    return Imported(
        model=chain.model,
        recipe=recipe,
        prompt=plain_prompt(chain.prompt),
        negative_prompt=plain_prompt(chain.negative_prompt),
        image=chain.image,
        seed=_seed(asked),
        notes=tuple(_notes(chain, asked)),
    )


def plain_prompt(text: str) -> str:
    """A prompt without the escapes that keep ComfyUI from reading weights into it."""
    return text.replace("\\(", "(").replace("\\)", ")")


def _asked(chain: Chain, run: Run, where: str, experts: Mapping[str, str]) -> _Asked:
    model = MODELS[chain.model]
    expert = model.experts[0]
    if len(model.experts) > 1:
        words = {e for e in model.experts if re.search(rf"(?i)(?<![a-z]){e}(?![a-z])", run.file)}
        named = experts.get(run.file) or (words.pop() if len(words) == 1 else None)
        if named is None:
            raise ConfigError(
                f"{where}: node {run.node}: cannot tell which expert {run.file!r} is; say"
                f" --expert {run.file}={model.experts[0]} (or {model.experts[-1]})"
            )
        expert = named
    return _Asked(run=run, name="", expert=expert)


def _merged(asked: Sequence[_Asked]) -> list[_Asked]:
    """Nodes titled as parts of one stage joined again."""
    found: list[_Asked] = []
    for one in asked:
        title = TITLE.fullmatch(one.run.title)
        part = int(title["part"] or 1) if title else 1
        if title is None or part == 1 or not found or not _continues(found[-1], one):
            found.append(replace(one, experts=(one.expert,) * len(_calls(one.run))))
            continue
        before = found[-1]
        run = replace(before.run, levels=(*before.run.levels, *one.run.levels[1:]))
        calls = (one.expert,) * len(_calls(one.run))
        found[-1] = replace(before, run=run, expert="auto", experts=before.experts + calls)
    return found


def _continues(before: _Asked, one: _Asked) -> bool:
    """Whether a node is the next part of the stage before it."""
    titles = [TITLE.fullmatch(run.title) for run in (before.run, one.run)]
    names = [title["name"] if title else None for title in titles]
    a, b = before.run, one.run
    alike = (a.sampler, a.cfg, a.shift, a.loras) == (b.sampler, b.cfg, b.shift, b.loras)
    meets = abs(a.levels[-1] - b.levels[0]) < 1e-6
    return names[0] == names[1] is not None and alike and meets and not b.adds_noise


def _calls(run: Run) -> list[float]:
    return evaluations(run.sampler, run.levels)


def _names(asked: Sequence[_Asked]) -> list[str]:
    """Of the nodes' titles where all have one, else of their experts, else numbers."""
    titles = [TITLE.fullmatch(one.run.title) for one in asked]
    choices = [
        [title["name"] if title else "" for title in titles],
        [one.expert for one in asked],
        [f"stage{number}" for number in range(1, len(asked) + 1)],
    ]
    return next(names for names in choices if all(names) and len(set(names)) == len(names))


def _check_hand_overs(asked: Sequence[_Asked], where: str) -> None:
    """Refuse hand-overs at which ComfyUI scales or noises the latent as no recipe would."""
    end: float | None = None
    for one in asked:
        run, start = one.run, one.run.levels[0]
        at = f"{where}: node {run.node}"
        if end is None and not run.adds_noise:
            raise ConfigError(f"{at}: the first sampler has add_noise off: it starts from nothing")
        if end and run.adds_noise:
            raise ConfigError(
                f"{at}: adds noise to a latent that is still noisy (sigma {end:.4g}); the sampler"
                " before it should run to its end, or this one should add none"
            )
        if end is not None and not run.adds_noise and abs(start - end) > 1e-6:
            raise ConfigError(
                f"{at}: starts at sigma {start:.4g} where the sampler before it stopped at"
                f" {end:.4g}; give both the same steps, scheduler and shift, and let this one start"
                " at the step that the other ends at"
            )
        end = run.levels[-1]
    if end:
        raise ConfigError(f"{where}: node {asked[-1].run.node}: the last sampler leaves noise")


def _recipe(chain: Chain, asked: Sequence[_Asked], where: str) -> Settings:
    problem: ConfigError | None = None
    for shared in _shared_schedules(asked):
        head: Settings = {
            "width": chain.width,
            "height": chain.height,
            "frames": chain.frames,
            "fps": chain.fps,
            "steps": shared.steps,
            "scheduler": shared.scheduler,
            "shift": shared.shift,
        }
        try:
            return {**head, "stages": _stages(chain.model, head, shared, asked, where)}
        except ConfigError as error:
            problem = problem or error
    raise problem or ConfigError(f"{where}: has no sampler")


def _shared_schedules(asked: Sequence[_Asked]) -> list[_Shared]:
    """Schedules that may be the recipe's own: those that are cut first, then none at all."""
    runs = [one.run for one in asked]
    cut = [r for r in runs if r.levels[-1] > 0] + [r for r in runs if r.denoise == 1]
    found = [
        _Shared(steps=r.steps, scheduler=r.scheduler, shift=r.shift)
        for r in cut
        if r.steps and r.scheduler
    ]
    bare = _Shared(steps=None, scheduler=runs[0].scheduler or "simple", shift=runs[0].shift)
    typed = [r for r in runs if r.scheduler is None and (r.levels[-1] > 0 or not r.adds_noise)]
    return list(dict.fromkeys([*found, bare, *(s for r in typed for s in _recognised(r))]))


def _recognised(run: Run) -> Iterator[_Shared]:
    """Schedules that levels which were typed in may be a part of.

    Either their last levels, after a first one of their own, or the first of a schedule that starts
    at theirs.
    """
    lengths = range(1, MOST_STEPS)
    samplers = dict.fromkeys((run.sampler, "euler"))  # a split may have the latter's schedule
    for name, sampler in itertools.product(SCHEDULES, samplers):
        if run.levels[-1] == 0:
            cut = find_slice(run.levels, name, run.shift, lengths, sampler=sampler, free_start=True)
            found = cut.steps if cut else None
        else:
            found = next((n for n in lengths if _begins(run, name, n, sampler)), None)
        if found is not None:
            yield _Shared(steps=found, scheduler=name, shift=run.shift)


def _begins(run: Run, scheduler: str, steps: int, sampler: str) -> bool:
    start = run.levels[0]
    whole = schedule(scheduler, steps, run.shift, sampler=sampler, sigma_start=start)
    return same_levels(whole[: len(run.levels)], run.levels)


def _stages(
    model: str, head: Settings, shared: _Shared, asked: Sequence[_Asked], where: str
) -> dict[str, Settings]:
    """Every stage's settings, found one after the other."""
    stages: dict[str, Settings] = {}
    for index, one in enumerate(asked):
        first, problem = index == 0, None
        for takeover in _takeovers(one.run, shared, first=first):
            candidate = {**stages, one.name: _settings(one, takeover)}
            for plan in _plans(model, head, candidate, one.run):
                if isinstance(plan, ConfigError):
                    problem = problem or plan
                elif _fits(plan, index, one):
                    stages = candidate
                    break
            if stages is candidate:
                break
        else:
            why = f" ({problem})" if problem else ""
            raise ConfigError(
                f"{where}: node {one.run.node}: no stage of wanexp runs its levels"
                f" {_shown(one.run.levels)}{why}"
            )
    whole = make_plan(recipe_from({"name": model}, {**head, "stages": stages}))
    for index, one in enumerate(asked):  # stages of a split depend on what comes after them
        if not _fits(whole, index, one):
            raise ConfigError(
                f"{where}: node {one.run.node}: no stage of wanexp runs its levels"
                f" {_shown(one.run.levels)} together with what comes after it"
            )
    return stages


def _plans(
    model: str, head: Settings, stages: Mapping[str, Settings], run: Run
) -> Iterator[Plan | ConfigError]:
    """The plans of the stages so far; where they leave noise, with each kind of stage after them.

    One that shares their schedule with another sampler can change it, so both kinds are tried.
    """
    rests: list[Settings] = [{}]
    if run.levels[-1] > 0:
        alone: Settings = {"sampler": "euler", "scheduler": "simple", "steps": 1}
        rests = [{REST: alone}, {REST: {"sampler": "euler"}}]
    for rest in rests:
        try:
            yield make_plan(recipe_from({"name": model}, {**head, "stages": {**stages, **rest}}))
        except ConfigError as error:
            yield error


def _fits(plan: Plan, index: int, one: _Asked) -> bool:
    """Whether a planned stage is what the node runs."""
    stage = plan.stages[index]
    return (
        same_levels((stage.sigma_start, *stage.sigmas[1:]), one.run.levels)
        and stage.experts == one.experts
    )


def _takeovers(run: Run, shared: _Shared, *, first: bool) -> Iterator[Settings]:
    """Ways to ask for a node's levels, the plainest first."""
    end, count = run.levels[-1] or None, len(run.levels) - 1
    own: Settings = {
        "scheduler": None if run.scheduler == shared.scheduler else run.scheduler,
        "shift": None if run.shift == shared.shift else run.shift,
    }
    known = [run.scheduler] if run.scheduler else []
    names = list(dict.fromkeys([*known, shared.scheduler, *SCHEDULES]))
    if first or not run.adds_noise:
        yield {"sigma_end": end}
    if not run.adds_noise:
        for name in names:
            yield {"steps": count, "scheduler": name, "shift": run.shift, "sigma_end": end}
        return
    if run.steps and run.scheduler:
        if first and end is None:
            yield {**own, "steps": run.steps}
        yield {**own, "steps": run.steps, "denoise": run.denoise, "sigma_end": end}
        whole = schedule(run.scheduler, run.steps, run.shift, sampler=run.sampler)
        rest = len(whole) - 1 - (run.start or 0)  # a few schedules have more steps than asked
        if run.start and 0 < rest < run.steps:
            share = share_of(rest, run.steps)
            yield {**own, "steps": rest, "denoise": share, "sigma_end": end}
    if end is not None:
        yield {"sigma_start": run.levels[0], "sigma_end": end}
    for name in names:
        yield {
            "steps": count,
            "scheduler": name,
            "shift": own["shift"],
            "sigma_start": run.levels[0],
            "sigma_end": end,
        }


def _settings(one: _Asked, takeover: Settings) -> Settings:
    run = one.run
    return {
        "steps": None,
        "cfg": run.cfg,
        "sampler": run.sampler,
        "scheduler": None,
        "shift": None,
        "denoise": None,
        "sigma_start": None,
        "sigma_end": None,
        "expert": one.expert,
        "loras": dict(run.loras),
        **takeover,
    }


def _seed(asked: Sequence[_Asked]) -> int | None:
    """The trial seed that gives these nodes theirs; nodes that draw nothing may have any."""
    seeds = {k: one.run.seed for k, one in enumerate(asked) if one.run.adds_noise}
    seed = seeds.get(0, 0) // 1000
    return seed if all(stage_seed(seed, k) == own for k, own in seeds.items()) else None


def _notes(chain: Chain, asked: Sequence[_Asked]) -> Iterator[str]:
    if _seed(asked) is None:
        yield "its seeds are not those that wanexp gives to stages: its own video will be another"
    if any(one.run.loras for one in asked):
        yield "its LoRAs are named as in ComfyUI's folder; give wanexp the files themselves"
    texts = (chain.prompt, chain.negative_prompt)
    if any(re.search(r"(?<!\\)\([^()]*:[\d.]+\)", text) for text in texts):
        yield "its prompt weights words, as in (word:1.2); wanexp reads a prompt as it stands"


def _shown(levels: Sequence[float]) -> str:
    texts = [f"{level:.4g}" for level in levels]
    return ", ".join(texts if len(texts) <= 8 else [*texts[:4], "…", *texts[-2:]])


def imported_recipe(imported: Imported) -> Recipe:
    """The recipe itself, on the model's own weights."""
    return recipe_from({"name": imported.model}, imported.recipe)
