"""Signs in measured stages, their causes in the settings, and the override that is said to help."""

from __future__ import annotations

import dataclasses

import pytest

from analysis.diagnosis import RULES, Reading, StageReading, counted, diagnose, reading_of
from analysis.remedies import CAUSES, EVIDENCE
from tests.analysis.studies import measured, record
from wanexp.compose import compose_tree
from wanexp.config import trial_from
from wanexp.plan import make_plan
from wanexp.recording import trial_tree

DIRECTIONS = {
    "detail": "one",
    "detail_incoherence": "lower",
    "warp": "lower",
    "flicker": "lower",
    "jitter": "lower",
    "overshoot": "lower",
    "saturation": "one",
}
GOOD = {
    "detail": 0.8,
    "detail_incoherence": 0.3,
    "warp": 0.1,
    "flicker": 0.2,
    "jitter": 0.1,
    "overshoot": 2.0,
    "saturation": 1.0,
}


def stage(name, *, sigma_start=0.45, denoise=None, **how) -> StageReading:
    settings = {"steps": 25, "cfg": 3.5, "sampler": "dpmpp_2m", "scheduler": "karras"}
    settings |= {key: how.pop(key) for key in list(how) if key in settings}
    return StageReading(
        name=name,
        sigma_start=sigma_start,
        denoise=denoise,
        values={**GOOD, **how},
        **settings,
    )


def reading(*stages: StageReading, **changes) -> Reading:
    """A trial of a model whose own cfg is 5, so that the guide's are not far from it."""
    base = Reading(
        digest="d",
        arm="a",
        case="astronaut",
        seed=0,
        size=(512, 512, 17),
        own_cfg=5.0,
        stages=stages,
        directions=DIRECTIONS,
        memory={"empty_cache": False, "vae_tiling": False, "offload": "none"},
        error=None,
    )
    return dataclasses.replace(base, **changes)


FIRST = stage("establish", sigma_start=1.0, steps=18)
BETTER = stage("refine", detail=0.9)


def found(*stages, **changes):
    return {one.rule: one for one in diagnose(reading(*stages, **changes))}


def test_a_chain_that_gets_better_has_no_sign():
    assert found(FIRST, BETTER) == {}
    assert found(FIRST) == {}


def test_a_second_stage_that_loses_detail_is_worse_and_says_how_much():
    one = found(FIRST, stage("refine", detail=0.6, denoise=0.5, sigma_start=0.5))["second_worse"]
    assert one.sign.shows == "detail goes from 0.8 after establish to 0.6 after refine"
    assert one.sign.size == pytest.approx(0.288, abs=0.001)  # ln(0.8 / 0.6)
    assert one.cause is not None and one.cause.override == "recipe.stages.refine.denoise=0.35"


@pytest.mark.parametrize(
    ("how", "override"),
    [
        ({"cfg": 12.0}, "recipe.stages.refine.cfg=null"),  # far from the model's own counts first
        ({"denoise": 0.5}, "recipe.stages.refine.denoise=0.35"),
        ({"sigma_start": 0.6}, "recipe.stages.refine.sigma_start=0.35"),
        ({"sigma_start": 0.3, "cfg": 8.0}, "recipe.stages.refine.cfg=7"),
        ({"sigma_start": 0.3, "steps": 20}, "recipe.stages.refine.steps=28"),
        ({"sigma_start": 0.3, "sampler": "euler"}, "recipe.stages.refine.sampler=dpmpp_2m"),
    ],
)
def test_the_causes_of_a_worse_second_stage_come_in_order(how, override):
    one = found(FIRST, stage("refine", warp=0.2, **how))["second_worse"]
    assert one.cause is not None and one.cause.override == override


def test_a_worse_stage_whose_settings_show_no_cause_says_so():
    one = found(FIRST, stage("refine", warp=0.2, sigma_start=0.3))["second_worse"]
    assert one.cause is None and one.others == ()


def test_a_second_stage_that_changes_nothing_is_told_its_noise():
    same = stage("refine", denoise=0.45, sigma_start=0.06)
    one = found(FIRST, same)["no_change"]
    assert "it starts from sigma 0.060" in one.sign.shows
    assert one.cause is not None
    assert one.cause.why == "denoise 0.45 with karras is 6 % noise"
    assert one.cause.override == (
        "recipe.stages.refine.denoise=null recipe.stages.refine.sigma_start=0.45"
    )
    assert "no_change" not in found(FIRST, stage("refine", warp=0.104))


def test_flicker_is_followed_through_all_stages():
    late = stage("polish", flicker=0.4, sigma_start=0.35, scheduler="simple")
    one = found(FIRST, BETTER, late)["flicker_rises"]
    assert one.sign.stage == "polish"
    assert one.cause is not None and one.cause.override == "recipe.stages.polish.sigma_start=0.25"
    assert "recipe.stages.polish.scheduler=karras" in [other.override for other in one.others]


def test_a_third_stage_that_rings_is_told_from_a_second_that_does():
    ringing = stage("polish", detail=0.9, overshoot=3.0, denoise=0.45, sigma_start=0.1)
    one = found(FIRST, BETTER, ringing)["third_artefacts"]
    assert one.cause is not None and one.cause.override == "recipe.stages.polish.denoise=0.3"
    assert one.others[-1].override == "~recipe.stages.polish"
    assert "third_artefacts" not in found(FIRST, ringing)


def test_burnt_colours_are_over_processed():
    one = found(stage("establish", cfg=8.5, saturation=1.4))["over_processed"]
    assert "saturation is 1.4 (more than 1.15 burns)" in one.sign.shows
    assert one.cause is not None and one.cause.override == "recipe.stages.establish.cfg=7.5"


def test_a_long_chain_is_slow_whether_it_was_measured_or_not():
    stages = [dataclasses.replace(FIRST, values={}), BETTER, stage("polish", steps=28)]
    one = found(*stages)["too_slow"]
    assert one.sign.shows.startswith("18 + 25 + 28 = 71 steps")
    assert one.cause is not None and one.cause.override == "recipe.stages.polish.steps=15"


def test_want_of_memory_has_the_guides_order_of_remedies():
    error = "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"
    one = found(FIRST, BETTER, error=error, size=(768, 768, 17))["out_of_memory"]
    fixes = [one.cause.override if one.cause else "", *(other.override for other in one.others)]
    assert fixes == [
        "memory.empty_cache=true",
        "memory.vae_tiling=true",
        "recipe.frames=13",
        "recipe.width=512 recipe.height=512",
        "memory.offload=model",
    ]
    assert found(FIRST, BETTER, error="ValueError: no") == {}


def test_an_undefined_metric_shows_nothing():
    bare = dataclasses.replace(BETTER, values={"overshoot": 2.0})
    assert "second_worse" not in found(FIRST, bare)


def test_every_rule_has_causes_and_evidence():
    names = [rule.name for rule in RULES]
    assert set(names) == set(CAUSES) == set(EVIDENCE)
    assert all(EVIDENCE.values())


def test_arms_and_rules_are_counted_in_their_order():
    worse = stage("refine", detail=0.6, flicker=0.4)
    readings = [
        dataclasses.replace(reading(FIRST, worse), arm=arm, seed=seed)
        for seed in (0, 1)
        for arm in ("b", "a")
    ]
    keys = list(counted(readings))
    assert keys == [
        ("b", "second_worse"),
        ("b", "flicker_rises"),
        ("a", "second_worse"),
        ("a", "flicker_rises"),
    ]
    assert len(counted(readings)["a", "second_worse"]) == 2


def test_a_record_is_read_as_it_was_planned_and_measured():
    trial = trial_from(compose_tree(["recipe=two_stage", "case=coffee", "seed=3"]))
    plan = make_plan(trial.recipe)
    one = record(
        "d1",
        trial=trial_tree(trial),
        plan=plan.tree(),
        measurements={"detail": measured(0.9, "one"), "face_detail": measured(None, "one", "none")},
        stages={
            "establish": {"measurements": {"detail": measured(0.5, "one")}},
            "refine": {"measurements": {}},
        },
    )
    found_ = reading_of(one)
    assert (found_.case, found_.seed, found_.own_cfg, found_.size) == (
        "coffee",
        3,
        2.0,
        (128, 128, 17),
    )
    assert [s.name for s in found_.stages] == ["establish", "refine"]
    assert found_.stages[0].values == {"detail": 0.5} and found_.last.values == {"detail": 0.9}
    assert found_.last.denoise == 0.45 and found_.last.sigma_start == plan.stages[1].sigma_start
