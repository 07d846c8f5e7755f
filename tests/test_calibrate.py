from __future__ import annotations

import json

import pytest

from wanexp.cli import main
from wanexp.step_cache import StepCache

SMALL = ["recipe=single", "recipe.width=64", "recipe.height=64", "recipe.frames=9"]
FEW = ["recipe.scheduler=simple", "recipe.stages.establish.steps=6", "memory=cpu"]


def test_ratios_of_every_expert_make_a_step_cache(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", *SMALL, *FEW, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sum(map(len, found.values())) == 6
    assert found["high"][0] == 1.0
    assert all(0.2 < ratio < 5 for ratios in found.values() for ratio in ratios)
    ratios = {name: tuple(values) for name, values in found.items()}
    assert StepCache(kind="mag", ratios=ratios).on


def test_a_chain_of_stages_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "recipe=two_stage", "memory=cpu"]) != 0
    assert "use recipe=single" in capsys.readouterr().err
