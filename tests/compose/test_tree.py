"""One configuration as plain values; wrong overrides told in one sentence; Hydra left as found."""

from __future__ import annotations

import contextlib

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.version import VersionBase

from wanexp.compose import available, compose_tree, shipped_folder
from wanexp.compose.tree import compose_checked, compose_on, hydra_session, plain
from wanexp.strict import ConfigError


def message(*overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        compose_tree(overrides)
    assert "\n" not in str(error.value)
    return str(error.value)


def types_in(value: object) -> set[type]:
    if isinstance(value, dict):
        return {dict}.union(*map(types_in, [*value, *value.values()]))
    if isinstance(value, list):
        return {list}.union(*map(types_in, value))
    return {type(value)}


def test_a_tree_is_made_of_plain_values_and_has_no_part_of_hydras():
    tree = compose_tree()
    assert types_in(tree) <= {dict, list, str, int, float, bool, type(None)}
    assert "hydra" not in tree
    assert list(tree)[:6] == ["model", "recipe", "case", "memory", "protocol", "tracking"]


def test_overrides_are_hydras():
    tree = compose_tree(["recipe=guide/two_stage", "recipe.stages.refine.cfg=7.0", "~memory"])
    assert tree["recipe"]["stages"]["refine"]["cfg"] == 7.0  # type: ignore[index]
    assert "memory" not in tree
    lora = compose_tree(["+recipe.stages.refine.loras={/a b/c.safetensors:0.5}"])
    assert lora["recipe"]["stages"]["refine"]["loras"] == {"/a b/c.safetensors": 0.5}  # type: ignore[index]


def test_of_two_overrides_of_one_key_the_later_holds():
    tree = compose_tree(["seed=1", "case=coffee", "seed=2", "case=brick"])
    assert tree["seed"] == 2
    assert tree["case"]["name"] == "brick"  # type: ignore[index]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed=0,1", "seed: several values make a sweep, not one run"),
        ("case=glob(*)", "case: several values make a sweep, not one run"),
        ("model=wan_mni", "no model 'wan_mni'; did you mean 'wan_mini'? (have: wan22_i2v_a14b,"),
        ("recipe=two_stge", "no recipe 'two_stge'; did you mean 'two_stage'? (have: guide/batch,"),
        ("case=cofee", "no case 'cofee'; did you mean 'coffee'? (have: astronaut,"),
        ("memory=vram12", "no memory 'vram12'; did you mean 'vram_12gb'? (have: cpu,"),
        ("protocol=quik", "no protocol 'quik'; did you mean 'quick'? (have: ab,"),
        ("tracking=servr", "no tracking 'servr'; did you mean 'server'? (have: local,"),
        ("+sweeps=dmo", "no sweep 'dmo'; did you mean 'demo'? (have: ab_protocol,"),
        ("recipe=null", "recipe: expected the name of a file, got None"),
        ("case=3", "case: expected the name of a file, got 3 (a name of digits needs quotes)"),
        ("case=[coffee]", "case: expected the name of a file, got ['coffee']"),
        ("sed=3", "sed: the configuration has no 'sed'; did you mean 'seed'? (has: model,"),
        ("recipes=single", "recipes: the configuration has no 'recipes'; did you mean 'recipe'?"),
        ("recipe.step=3", "recipe.step: recipe has no 'step'; did you mean 'steps'? (has: width,"),
        (
            "recipe.stages.refin.cfg=3",
            "recipe.stages.refin.cfg: recipe.stages has no 'refin'; did you mean 'refine'?"
            " (has: establish, refine)",
        ),
        (
            "recipe.stages.refine.cgf=3",
            "recipe.stages.refine.cgf: recipe.stages.refine has no 'cgf'; did you mean 'cfg'?",
        ),
        ("seed.x=3", "seed.x: seed has no 'x' (has: nothing)"),
        ("tracking.urii=x", "tracking.urii: tracking has no 'urii'; did you mean 'uri'?"),
        ("recipe.stages.refine.cfg=${recipe.nope}", "recipe.stages.refine.cfg: Interpolation key"),
        ("seed", "cannot read the overrides 'seed': "),
        ("=3", "cannot read '=3': it has no key"),
        ("case=[a", "cannot read the overrides 'case=[a': "),
        ("--json", "cannot read the overrides '--json': "),
        (
            "hydra/launcher=joblib",
            "In 'hydra/config': Could not find 'hydra/launcher/joblib' Avail",
        ),
    ],
)
def test_a_wrong_override_is_told_with_the_nearest_that_there_is(override, expected):
    assert message(override).startswith(expected)


def test_an_error_does_not_show_hydras_search_path():
    for override in ("hydra/launcher=joblib", "recipe=nope"):
        assert "search path" not in message(override).lower()
        assert "provider=" not in message(override)


# What Hydra remembers


def test_nothing_of_hydras_stays_set_up():
    GlobalHydra.instance().clear()
    compose_tree()
    assert not GlobalHydra.instance().is_initialized()
    message("recipe=nope")
    assert not GlobalHydra.instance().is_initialized()


@pytest.mark.parametrize("overrides", [["seed=1"], ["recipe=nope"], ["seed=1,2"]])
def test_another_application_of_hydra_finds_itself_as_it_was(overrides, tmp_path):
    (tmp_path / "config.yaml").write_text("own: 1\n")
    with initialize_config_dir(str(tmp_path), version_base="1.2"):
        before = GlobalHydra.instance().hydra
        version = VersionBase.instance().getbase()
        with contextlib.suppress(ConfigError):
            compose_tree(overrides)
        assert GlobalHydra.instance().hydra is before
        assert VersionBase.instance().getbase() == version
        assert compose("config") == {"own": 1}


def test_a_session_inside_a_session_changes_nothing():
    with hydra_session():
        outer = GlobalHydra.instance().hydra
        assert compose_tree(["seed=5"])["seed"] == 5
        assert GlobalHydra.instance().hydra is outer
        assert compose_checked(["seed=6"]).seed == 6


# Composing many at once


def test_values_on_top_of_composed_groups_are_what_hydra_composes():
    arms = [
        (),
        ("recipe.stages.refine.cfg=3",),
        ("recipe.stages.refine.cfg=null", "recipe.stages.refine.denoise=0.5"),
        ("recipe.shift=1e-3", "recipe.shift=2"),
        ("recipe=single",),
        ("recipe.stages.establish.steps=3", "recipe=single"),
        ("case.crop=[0,0,10,10]", "case.prompt='a, b'", "case.regions=null"),
        ("+recipe.stages.refine.loras={a:1.0}", "recipe.steps=4"),
        ("recipe.stages.refine.cfg=${recipe.stages.establish.steps}",),
        ("memory=cpu", "memory.vae_tiling=true"),
        ("~recipe.stages.refine",),
        ("seed=4",),
    ]
    base = ["recipe.stages.establish.cfg=4", "case=coffee"]
    with hydra_session():
        whole = {}
        for arm in [*arms, *arms]:
            direct = plain(compose_checked([*base, *arm]))
            assert plain(compose_on(whole, base, arm)) == direct, arm
        assert len(whole) < len(arms)


def test_values_on_top_are_refused_as_hydra_refuses_them():
    with hydra_session():
        for wrong in ("recipe.stages.refine.cgf=3", "recipe.stages.polish.cfg=3", "recipe.x.y=3"):
            with pytest.raises(ConfigError, match="has no"):
                compose_on({}, [], ["recipe.steps=3", wrong])


def test_one_arms_values_do_not_leak_into_the_next():
    with hydra_session():
        whole = {}
        compose_on(whole, [], ["recipe.stages.refine.cfg=9"])
        later = compose_on(whole, [], ["recipe.steps=4"])
        assert later.recipe.stages.refine.cfg is None


def test_every_group_has_files():
    for group in ("model", "recipe", "case", "memory", "protocol", "tracking"):
        assert available(f"conf/{group}")
    assert available("conf/nothing") == []
    assert (shipped_folder() / "conf").is_dir()
