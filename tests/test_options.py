"""How to run: options and protocol, with every key read by somebody."""

from __future__ import annotations

from pathlib import Path

import pytest

from wanexp.compose import compose_tree
from wanexp.options import Options, Protocol, options_from, protocol_from
from wanexp.strict import ConfigError


def message(tree: dict[str, object]) -> str:
    with pytest.raises(ConfigError) as error:
        options_from(tree)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_shipped_configuration_is_read_to_the_last_key():
    tree = compose_tree()
    assert options_from(tree) == Options()
    assert protocol_from(tree).name == "quick"


def test_what_decides_the_trial_is_somebody_elses():
    trial = dict.fromkeys(("model", "recipe", "case", "memory", "seed", "study", "arm"), "x")
    assert options_from({**trial, "protocol": 1, "tracking": 2}) == Options()


def test_a_key_that_nobody_reads_is_told_the_nearest():
    assert message({"measure_stage": True}).startswith(
        "the configuration: unknown key 'measure_stage'; did you mean 'measure_stages'? (known:"
    )
    assert message({"foo": 1}).startswith("the configuration: unknown key 'foo' (known: ")


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({"measure_stages": 1}, "the configuration.measure_stages: expected true or false, got 1"),
        (
            {"keep_latents": "no"},
            "the configuration.keep_latents: expected true or false, got 'no'",
        ),
        ({"studies": None}, "the configuration.studies: expected text, got None"),
        ({"metrics": "flicker"}, "the configuration.metrics: expected a list, got 'flicker'"),
        ({"metrics": [1]}, "the configuration.metrics[0]: expected text, got 1"),
        ({"metrics": ["flickr"]}, "metrics: no metric named 'flickr'; did you mean 'flicker'? (ha"),
    ],
)
def test_a_wrong_option_is_refused(tree, expected):
    assert message(tree).startswith(expected)


def test_metrics_may_be_chosen_regions_of_a_case_included():
    options = options_from({"metrics": ["flicker", "detail", "detail:logo"]})
    assert options.metrics == ("flicker", "detail", "detail:logo")
    assert options_from({"metrics": []}).metrics == ()
    assert options_from({"metrics": None}).metrics is None


def test_the_studies_folder_is_absolute_wherever_the_run_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert Options().folder == tmp_path / "studies"
    assert Options(studies="a/../b").folder == tmp_path / "a" / ".." / "b"
    assert Options(studies="~/b").folder == tmp_path / "home" / "b"
    assert Options(studies="/b").folder == Path("/b")


def test_the_stage_store_is_among_the_studies_unless_it_has_a_place_of_its_own(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert options_from({"studies": "/b"}).cache_folder == Path("/b/.cache")
    assert options_from({"cache": {"folder": "~/c"}}).cache_folder == Path("/home/me/c")
    assert options_from({"cache": {"limit_gb": 1.5}}).cache_limit == 1_500_000_000
    assert options_from({"cache": {"enabled": False}}).cache.enabled is False


def test_a_store_without_room_is_refused():
    assert message({"cache": {"limit_gb": 0}}).startswith("cache.limit_gb: expected more than 0")
    assert message({"cache": {"limit": 1}}).startswith(
        "the configuration.cache: unknown key 'limit'"
    )


def test_a_protocol_names_its_primary_metric():
    tree: dict[str, object] = {"protocol": {"name": "mine", "primary": "motion", "why": "so"}}
    assert protocol_from(tree) == Protocol(name="mine", primary="motion", why="so")


MOTION = {"name": "m", "primary": "motion"}


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        (None, "protocol: expected a mapping, got None"),
        ({"name": "mine"}, "protocol: 'primary' is missing"),
        ({"name": "m", "primary": "detial"}, "protocol.primary: no metric named 'detial'; did you"),
        (
            {"name": "m", "primary": "ewarp"},
            "protocol.primary: ewarp is there to compare with papers",
        ),
        ({"name": "m", "primary": None}, "protocol.primary: expected text, got None"),
        ({"name": "m", "primary": "motion", "seeds": 3}, "protocol: unknown key 'seeds' (known: "),
        ({**MOTION, "margin": 1}, "protocol.margin: expected a share in (0, 1), got 1"),
        ({**MOTION, "motion_margin": 0}, "protocol.motion_margin: expected a share in (0, 1)"),
        ({**MOTION, "looks": [8, 4]}, "protocol.looks: expected rising numbers of cases, got [8"),
        ({**MOTION, "looks": [0]}, "protocol.looks: expected rising numbers of cases, got [0]"),
        ({**MOTION, "looks": [4], "any_time": True}, "protocol.looks: any_time looks after every"),
        ({**MOTION, "weights": {"warp": 0}}, "protocol.weights.warp: expected more than 0, got 0"),
        ({**MOTION, "weights": {"wrap": 1}}, "protocol.weights: no metric named 'wrap'; did you"),
    ],
)
def test_a_wrong_protocol_is_refused(protocol, expected):
    with pytest.raises(ConfigError) as error:
        protocol_from({"protocol": protocol})
    assert str(error.value).startswith(expected)


@pytest.mark.parametrize("key", ["lpips_weights", "face_model"])
def test_a_file_that_metrics_cannot_use_is_refused_before_anything_runs(key, tmp_path):
    with pytest.raises(ConfigError, match=f"{key}: there is no file"):
        options_from({**compose_tree([]), key: str(tmp_path / "none")})
    wrong = tmp_path / "wrong"
    wrong.write_text("something else")
    with pytest.raises(ConfigError, match=f"{key}: .*(holds no YuNet|does not hold the weights)"):
        options_from({**compose_tree([]), key: str(wrong)})
