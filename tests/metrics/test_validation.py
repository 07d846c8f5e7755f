"""The acceptance rules: every metric rises with its own fault, by the right amount, and only then.

A fault's ladder keeps one draw and scales it. Rules after the validation protocol of the metrics:
monotone in every scene, calibrated to the realised draw, selective, untouched by nuisances.
"""

import functools
import math
from typing import TypedDict

import numpy as np
import pytest

from tests.metrics.clips import (
    SCENES,
    Fault,
    clip,
    flickering,
    number,
    realised_flicker,
    realised_jitter,
    shaking,
    swimming,
)
from wanexp.metrics import measure

FPS = 16.0
NAMES = ("flicker", "jitter", "warp", "detail", "detail_incoherence", "motion", "motion_top5")
LADDERS = {
    "gain": (0.005, 0.02, 0.08),
    "shake": (0.125, 0.5, 1.5),
    "swim": (0.125, 0.5, 1.5),
    "blur": (0.5, 0.8, 1.2, 3.0),
    "noise": (0.01, 0.08),
}
OWN = {"gain": "flicker", "shake": "jitter", "swim": "warp", "blur": "detail"}


class Format(TypedDict, total=False):
    count: int
    size: int


QUICK = ("coffee", "motorcycle")
COUNT = 8
REACH = 7.0
"""Swimming is alike over this distance, px of a frame of 128: 14 in one of 256."""


def fault(kind, level, scene, count=COUNT, size=128) -> Fault:
    """Keywords of ``clip`` for a fault; every scene has a draw of its own."""
    seed = SCENES.index(scene)
    if kind == "gain":
        return {"gain": level * flickering(seed, count)}
    if kind == "shake":
        return {"shake": level * shaking(seed, count)}
    if kind == "swim":
        return {"swim": level * swimming(seed, count, size, REACH * size / 128)}
    return {"blur": level} if kind == "blur" else {"noise": level}


@functools.cache
def clean_frame(scene, size=128):
    return clip(scene, count=1, size=size, fine=256 // size)[0]


@functools.cache
def values(scene, kind="", level=0.0, count=COUNT, size=128):
    """All values of one clip by name; without a kind, of the clean clip."""
    made: Fault = fault(kind, level, scene, count, size) if kind else {}
    frames = clip(scene, count=count, size=size, fine=256 // size, **made)
    found = measure(frames, clean_frame(scene, size), FPS, NAMES)
    return {name: number(one) for name, one in found.items()}


def check_ladder(scene, kind, form: Format):
    own = OWN[kind]
    steps = [values(scene, **form)[own]]
    steps += [values(scene, kind, level, **form)[own] for level in LADDERS[kind]]
    rising = np.diff(steps if own != "detail" else [-step for step in steps])
    assert (rising > 0).all(), f"{own} on {kind}: {steps}"


def check_calibration(scene, form: Format):
    """Within 5 % of the realised draw, give or take what the clean clip reads."""
    count = form.get("count", COUNT)
    seed = SCENES.index(scene)
    for kind, realised, draw in (
        ("gain", realised_flicker, flickering(seed, count)),
        ("shake", realised_jitter, shaking(seed, count)),
    ):
        floor = values(scene, **form)[OWN[kind]]
        for level in LADDERS[kind]:
            read = values(scene, kind, level, **form)[OWN[kind]]
            allowed = (
                0.05 * realised(level * draw) + floor
            )  # the floor's errors may line up with it
            assert read == pytest.approx(realised(level * draw), abs=allowed), (kind, level)


def check_linearity(scene, form: Format):
    floor = values(scene, **form)["warp"]
    gains = []
    for level in LADDERS["swim"]:
        read = values(scene, "swim", level, **form)["warp"]
        gains.append(math.sqrt(read**2 - floor**2) / level)
    assert max(gains) / min(gains) < 1.15, gains
    assert min(gains) > 0.55 and max(gains) < 0.87, gains


# What the strongest fault of another kind may move a metric by, in parts of its own strongest.
COUPLED = {
    ("flicker", "noise"): 0.08,  # noise of 20 levels is brightness too
    ("jitter", "swim"): 0.35,  # swimming moves the whole frame a little too
    ("warp", "noise"): 0.15,  # noise is an error of the flow
    ("detail", "noise"): 0.06,
}
LEAK = 0.05


def check_selectivity(scene, form: Format):
    clean = values(scene, **form)
    for kind, own in OWN.items():
        top = values(scene, kind, LADDERS[kind][-1], **form)
        span = abs(top[own] - clean[own])
        for other in (*OWN, "noise"):
            if other == kind:
                continue
            moved = values(scene, other, LADDERS[other][-1], **form)[own] - clean[own]
            assert abs(moved) <= COUPLED.get((own, other), LEAK) * span, (own, other, moved / span)


def check_nuisances(scene, count=COUNT, size=128):
    """A faster pan, a zoom and a change of light are no faults."""
    clean = values(scene, count=count, size=size)
    nuisances: dict[str, Fault] = {
        "pan": {"pan": (2.4, 0.9)},
        "zoom": {"zoom": 1.01},
        "brighter": {"gain": np.linspace(-0.35, 0.0, count)},
    }
    for nuisance, change in nuisances.items():
        frames = clip(scene, count=count, size=size, fine=256 // size, **change)
        found = measure(frames, clean_frame(scene, size), FPS, NAMES)
        for kind, own in OWN.items():
            span = abs(values(scene, kind, LADDERS[kind][-1], count, size)[own] - clean[own])
            moved = number(found[own]) - clean[own]
            assert abs(moved) <= 0.03 * span, (own, nuisance, moved / span)


@pytest.mark.parametrize("scene", QUICK)
@pytest.mark.parametrize("kind", OWN)
def test_a_metric_is_monotone_in_its_own_fault(scene, kind):
    check_ladder(scene, kind, {})


@pytest.mark.parametrize("scene", QUICK)
def test_flicker_and_jitter_read_the_injected_deviation(scene):
    check_calibration(scene, {})


@pytest.mark.parametrize("scene", QUICK)
def test_warp_is_proportional_to_the_injected_deviation(scene):
    check_linearity(scene, {})


@pytest.mark.parametrize("scene", QUICK)
def test_a_fault_hardly_moves_the_other_metrics(scene):
    check_selectivity(scene, {})


@pytest.mark.parametrize("scene", QUICK[:1])
def test_pans_zooms_and_changes_of_light_are_no_faults(scene):
    check_nuisances(scene)


@pytest.mark.parametrize("scene", QUICK)
def test_noise_is_incoherent_detail_and_blur_is_not(scene):
    clean, noisy = values(scene), values(scene, "noise", 0.08)
    for level in (0.5, 0.8, 1.2):
        blurred = values(scene, "blur", level)["detail_incoherence"]
        rise = blurred - clean["detail_incoherence"]
        assert rise < 0.05 * (noisy["detail_incoherence"] - clean["detail_incoherence"])
    assert noisy["detail_incoherence"] > values(scene, "noise", 0.01)["detail_incoherence"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scene", "size"), [*((scene, 128) for scene in SCENES), ("astronaut", 256), ("coffee", 256)]
)
def test_all_rules_hold_in_every_scene_and_at_twice_the_size(scene, size):
    form: Format = {"count": 17, "size": size}
    for kind in OWN:
        check_ladder(scene, kind, form)
    check_calibration(scene, form)
    check_linearity(scene, form)
    check_selectivity(scene, form)
    check_nuisances(scene, **form)
