from __future__ import annotations

import pytest

from wanexp.config import recipe_from
from wanexp.memory import Memory
from wanexp.plan import make_plan
from wanexp.step_cache import KINDS, StepCache
from wanexp.strict import ConfigError

RATIOS = {"high": (1.0, 0.9), "low": (1.0, 0.95)}


def recipe(**whole):
    tree = {"stages": {"a": {"steps": 4}, "b": {"steps": 4, "denoise": 0.5}}, **whole}
    return recipe_from({"name": "wan_mini"}, tree)


def test_a_kind_has_its_own_settings_and_their_usual_values():
    found = StepCache(kind="first_block")
    assert found.settings() == {"kind": "first_block", "threshold": 0.05}
    assert found.on
    assert not StepCache().on


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "first_blok"}, "did you mean 'first_block'"),
        ({"kind": "first_block", "interval": 3}, "step_cache.interval: first_block has threshold"),
        ({"threshold": 0.1}, "none has no settings, not threshold"),
        ({"kind": "mag"}, "mag needs the ratios of these very weights"),
        ({"kind": "mag", "ratios": {"high": (0.0,)}}, "ratios.high: expected numbers above 0"),
        ({"kind": "first_block", "threshold": -1.0}, "threshold: expected at least 0, got -1"),
        ({"kind": "taylorseer", "order": 9}, "order: expected 0 to 4, got 9"),
        ({"kind": "mag", "ratios": RATIOS, "retention": 2.0}, "retention: expected a share"),
    ],
)
def test_what_cannot_be_is_refused_by_name(given, said):
    with pytest.raises(ConfigError, match=said):
        StepCache(**given)


@pytest.mark.parametrize("kind", KINDS)
def test_settings_are_what_makes_it_again(kind):
    given = {"kind": kind, **({"ratios": RATIOS} if kind == "mag" else {})}
    one = StepCache(**given)
    assert StepCache(**{**one.settings(), **({"ratios": RATIOS} if kind == "mag" else {})}) == one


def test_ratios_are_wanted_for_every_expert():
    with pytest.raises(ConfigError, match=r"recipe.step_cache.ratios: none for the low expert"):
        recipe(step_cache={"kind": "mag", "ratios": {"high": [1.0]}})


def test_a_stage_has_its_own_cache_or_the_recipes():
    own = {"steps": 4, "denoise": 0.5, "step_cache": {"kind": "none"}}
    plan = make_plan(
        recipe(
            step_cache={"kind": "taylorseer", "interval": 2},
            stages={"a": {"steps": 4}, "b": own},
        )
    )
    assert [stage.step_cache.kind for stage in plan.stages] == ["taylorseer", "none"]
    assert plan.stages[0].key()["step_cache"] == plan.stages[0].tree()["step_cache"]


def test_without_one_keys_are_as_they_were():
    assert all("step_cache" not in stage.key() for stage in make_plan(recipe()).stages)


def test_settings_that_came_later_leave_digests_as_they_were():
    assert set(Memory().bits()) == {"dtype", "vae_dtype", "vae_tiling", "attention"}
    assert Memory(compile=True, weights="float8").bits().keys() >= {"compile", "weights"}
