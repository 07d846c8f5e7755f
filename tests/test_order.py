"""The order of trials: experts change places as seldom as they can, and nothing is shared less."""

from __future__ import annotations

import random
from itertools import groupby, permutations
from pathlib import Path

import pytest

from wanexp.backends import load_backend
from wanexp.backends.placing import EXPERTS, Places
from wanexp.cache import Store
from wanexp.config import Case, Trial, recipe_from
from wanexp.images import load_source
from wanexp.memory import Memory
from wanexp.order import expert_loads, neighbours
from wanexp.planned import PlannedTrial, plan_trial, shared_model_calls
from wanexp.staged import encode_case, run_stages

PICTURE = "skimage:coffee.png"
CASE = Case(name="a", image=PICTURE, prompt="it pans", negative_prompt="blurry")
TURNS = Memory(device="cpu", offload="model")

Settings = dict[str, object]

HIGH: Settings = {"sigma_end": 0.857}
"""Of eight steps the first two, both by the high expert."""

BELOW: Settings = {}
"""Goes on with the low expert."""

ABOVE: Settings = {"sigma_start": 0.95, "steps": 3, "scheduler": "simple"}
"""Goes back to where the high expert works, and ends with the low one."""

PART: Settings = {**ABOVE, "sigma_end": 0.9}
"""Ends while the high expert is at work."""

ENDINGS = [
    *(
        (second, {"sigma_start": start, "steps": 2})
        for second in (BELOW, ABOVE)
        for start in (0.95, 0.3)
    ),
    (PART, {"steps": 2}),
    (PART, {"sigma_start": 0.98, "steps": 2}),
    (PART, {"steps": 2, "expert": "low"}),
]


def chain(arm: str, *stages: Settings, memory: Memory = TURNS, seed: int = 0) -> PlannedTrial:
    named = {f"s{k}": {"sampler": "euler", "cfg": 1.0, **stage} for k, stage in enumerate(stages)}
    size = {"width": 32, "height": 32, "frames": 5}
    recipe = recipe_from(
        {"name": "wan_mini"}, {**size, "steps": 8, "scheduler": "simple", "stages": named}
    )
    return plan_trial(Trial(recipe=recipe, case=CASE, seed=seed, memory=memory), arm)


def test_the_expert_that_is_on_the_device_goes_on_first():
    trials = [chain("below", HIGH, BELOW), chain("above", HIGH, ABOVE)]
    assert [t.plan.stages[1].experts[0] for t in trials] == ["low", "high"]
    assert [t.arm for t in neighbours(trials)] == ["above", "below"]
    assert expert_loads(trials) == 4  # high, low; high, low
    assert expert_loads(neighbours(trials)) == 3  # high, low; low


@pytest.mark.parametrize("offload", ["none", "group"])
def test_where_both_experts_stay_or_travel_by_layers_the_order_is_as_given(offload):
    memory = Memory(device="cpu", offload=offload)
    trials = [
        chain("below", HIGH, BELOW, memory=memory),
        chain("above", HIGH, ABOVE, memory=memory),
    ]
    assert neighbours(trials) == trials
    assert expert_loads(trials) == 0


def test_no_order_of_whole_trials_has_fewer_loads_and_sharing_is_kept():
    draw = random.Random(1)
    for _ in range(6):
        trials = [
            chain(str(n), draw.choice([HIGH, {"sigma_end": 0.6}]), *draw.choice(ENDINGS), seed=seed)
            for n, seed in enumerate([0, 0, 0, 0, 1])
        ]
        ordered = neighbours(trials)
        assert expert_loads(ordered) == min(expert_loads(some) for some in permutations(trials))
        for k in range(3):
            keys = [t.stage_keys[k] for t in ordered]
            assert len(list(groupby(keys))) == len(set(keys))
        assert shared_model_calls(ordered) == shared_model_calls(trials)


def test_loads_are_those_that_running_the_trials_makes(monkeypatch, tmp_path: Path):
    trials = neighbours([chain("below", HIGH, BELOW), chain("above", HIGH, ABOVE)])
    entered, enter = [], Places._enter

    def noted(places: Places, part: str) -> None:
        entered.append(part)
        enter(places, part)

    monkeypatch.setattr(Places, "_enter", noted)
    backend = load_backend(trials[0].trial.recipe, TURNS)
    source, store = load_source(PICTURE, None, 32, 32), Store(tmp_path, 10**9)
    for planned in trials:
        told = encode_case(planned, source, backend, store)
        *_, end = run_stages(planned, told, backend, store)
        backend.decode(end.denoised)
    backend.release()
    assert sum(part in EXPERTS for part in entered) == expert_loads(trials) == 3
