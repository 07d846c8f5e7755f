"""Preset: a recipe with the case and seed that it was seen on, its plan, and its evidence.

Chosen from a study (the best arm, a named one, one trial), or composed from configuration alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.load import StudyTable, load_study
from wanexp.compare import compared, find_study
from wanexp.compose import compose_tree
from wanexp.config import Recipe, Trial, trial_from, weights_of
from wanexp.models import MODELS
from wanexp.names import lookup
from wanexp.plan import Plan, make_plan
from wanexp.presets.comfy_levels import same_levels
from wanexp.presets.evidence import arm_evidence, trial_evidence
from wanexp.record import RecordError, StudyPaths, TrialRecord, read_record
from wanexp.strict import ConfigError

if TYPE_CHECKING:
    from analysis.comparison import Comparison

SIZES = ("width", "height", "frames", "fps", "shift")
"""Of a recipe; where they are the model's own, another model's own take their place."""

Tree = dict[str, object]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which of a study's recipes is meant.

    Attributes:
        metric: Decides which is best, in place of the protocol's primary one.
        digest: Of a trial; its beginning is enough.
        case, seed: Of the trials of an arm the one to take; None is the first.
        model: Another model to plan the same stages for.
    """

    best: bool = False
    arm: str | None = None
    digest: str | None = None
    metric: str | None = None
    case: str | None = None
    seed: int | None = None
    model: str | None = None


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What exporters write.

    Attributes:
        name: A file's name without its ending.
        evidence: Plain values; ``verdict`` is a sentence.
        paths: The study; None for a recipe that comes from configuration.
        source: The picture as the model saw it, where there is one.
        weights: Sixteen hex digits of the weights that were measured, or would run.
    """

    name: str
    trial: Trial
    plan: Plan
    evidence: Tree
    weights: str
    paths: StudyPaths | None = None
    source: Path | None = None


def composed_preset(overrides: Sequence[str]) -> Preset:
    """A preset of a recipe that nothing is known of yet."""
    trial = trial_from(compose_tree(overrides))
    found = [text.partition("=")[2] for text in overrides if text.startswith("recipe=")]
    name = found[-1].replace("/", "-") if found else "recipe"
    evidence: Tree = {
        "verdict": "Nothing has been measured: this recipe was not taken from a study."
    }
    plan, weights = make_plan(trial.recipe), weights_of(trial.recipe)
    return Preset(name=name, trial=trial, plan=plan, evidence=evidence, weights=weights)


def study_preset(name: str, overrides: Sequence[str], choice: Choice) -> Preset:
    """The preset that ``choice`` means in a study.

    Raises:
        ConfigError: There is no such study, arm or trial, or nothing of it is finished.
    """
    if sum((choice.best, choice.arm is not None, choice.digest is not None)) != 1:
        raise ConfigError("export: give one of --best, --arm NAME and --trial DIGEST")
    paths = find_study(name, overrides)
    table = load_study(paths.root)
    found = compared(table, choice.metric)
    comparison = found.comparison if found else None
    record = _record(paths, table, choice, comparison)
    trial = trial_from(_without(record.trial, ("weights", "image_sha256")))
    plan = _checked_plan(record, trial.recipe)
    if choice.digest is not None:
        evidence = trial_evidence(paths.name, record)
    else:
        evidence = arm_evidence(table, comparison, record.arm, declared=choice.metric is None)
    evidence["measured_on"] = _measured_on(trial.recipe)
    weights = str(record.trial.get("weights"))
    if weights != weights_of(trial.recipe):
        evidence["other_weights"] = "The weights are others by now than those that were measured."
    preset = Preset(
        name=record.arm.replace("/", "-") if choice.digest is None else record.digest,
        trial=trial,
        plan=plan,
        evidence=evidence,
        weights=weights,
        paths=paths,
        source=paths.trial(record.digest).source,
    )
    return preset if choice.model is None else _for_model(preset, record, choice.model)


def _record(
    paths: StudyPaths, table: StudyTable, choice: Choice, comparison: Comparison | None
) -> TrialRecord:
    rows = [dict(row) for row in table.study["trials"]]  # type: ignore[attr-defined]
    if choice.digest is not None:
        own = {str(row["digest"]) for row in rows if str(row["digest"]).startswith(choice.digest)}
        if len(own) != 1:
            what = "more than one trial begins" if own else "no trial begins"
            raise ConfigError(f"--trial: {what} with {choice.digest!r} in {paths.name}")
        return _completed(paths, sorted(own), f"trial {choice.digest}")
    arms = dict.fromkeys(str(row["arm"]) for row in rows)
    arm = choice.arm or _best(comparison) or next(iter(arms))
    try:
        lookup("arm", arms, arm)
    except KeyError as error:
        raise ConfigError(f"--arm: {error.args[0]}") from None
    wanted = {"arm": arm, "case": choice.case, "seed": choice.seed}
    digests = [
        str(row["digest"])
        for row in rows
        if all(row[key] == value for key, value in wanted.items() if value is not None)
    ]
    if not digests:
        have = ", ".join(f"{row['case']} {row['seed']}" for row in rows if row["arm"] == arm)
        raise ConfigError(f"--case, --seed: {arm} has no such trial (case and seed: {have})")
    return _completed(paths, digests, f"arm {arm}")


def _best(comparison: Comparison | None) -> str | None:
    """The winner; the baseline where no arm is better."""
    return (comparison.winner or comparison.baseline) if comparison else None


def _completed(paths: StudyPaths, digests: Sequence[str], what: str) -> TrialRecord:
    """The first of the trials that is finished."""
    for digest in digests:
        try:
            record = read_record(paths.trial(digest).record)
        except (FileNotFoundError, RecordError):
            continue
        if record.state == "completed":
            return record
    raise ConfigError(
        f"{what}: no finished trial in {paths.name}; `wanexp sweep` runs what is left"
    )


def _checked_plan(record: TrialRecord, recipe: Recipe) -> Plan:
    """The plan that ran, as this wanexp makes it again.

    Raises:
        ConfigError: It makes another one: the trial is of an older wanexp.
    """
    plan = make_plan(recipe)
    ran = record.plan.get("stages")
    stages = ran if isinstance(ran, Mapping) else {}
    same = list(stages) == [stage.name for stage in plan.stages] and all(
        same_levels(list(stages[stage.name]["sigmas"]), stage.sigmas)
        and list(stages[stage.name]["experts"]) == list(stage.experts)
        for stage in plan.stages
    )
    if not same:
        raise ConfigError(
            f"trial {record.digest}: ran by another plan than its recipe has in this wanexp; run it"
            " again (its record says which version made it)"
        )
    return plan


def _for_model(preset: Preset, record: TrialRecord, name: str) -> Preset:
    """The same stages on another model; what was the first one's own becomes the other's."""
    try:
        lookup("model", MODELS, name)
    except KeyError as error:
        raise ConfigError(f"--model: {error.args[0]}") from None
    old, tree = preset.trial.recipe.model, dict(record.trial)
    recipe = dict(_mapping(tree["recipe"]))
    own = {key: None for key in SIZES if recipe.get(key) == getattr(old, key)}
    tree |= {"model": {"name": name}, "recipe": recipe | own}
    trial = trial_from(_without(tree, ("weights", "image_sha256")))
    said = f"Measured on {old.name}; nothing is known of it on {name}."
    return replace(
        preset,
        name=f"{preset.name}-{name}",
        trial=trial,
        plan=make_plan(trial.recipe),
        evidence=preset.evidence | {"another_model": said},
        weights=weights_of(trial.recipe),
        source=None,
    )


def _measured_on(recipe: Recipe) -> str:
    size = f"{recipe.width}×{recipe.height}×{recipe.frames}"
    return f"{recipe.model.name} at {size}"


def _without(tree: Mapping[str, object], keys: Sequence[str]) -> Tree:
    return {key: value for key, value in tree.items() if key not in keys}


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
