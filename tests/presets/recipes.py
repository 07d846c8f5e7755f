"""Recipes to export: the golden chains, one of each kind of stage, and random ones."""

from __future__ import annotations

import random
from collections.abc import Iterator

from wanexp.config import Case, Recipe, Trial, recipe_from
from wanexp.memory import Memory
from wanexp.plan import Plan, make_plan
from wanexp.sampler_facts import SAMPLER_FACTS
from wanexp.schedules import SCHEDULES
from wanexp.strict import ConfigError

CPU = Memory(device="cpu", dtype="float32")
CASE = Case(
    name="coffee",
    image="skimage:coffee.png",
    prompt="a cup (blue) \\ steams, 5 > 3",
    negative_prompt="blurred (very), still",
)
Settings = dict[str, object]

KINDS: dict[str, Settings] = {
    "whole": {"stages": {"only": {"steps": 6, "sampler": "res_multistep", "expert": "high"}}},
    "renoise": {
        "stages": {
            "establish": {"steps": 5, "sampler": "dpmpp_2m", "expert": "high"},
            "refine": {"steps": 6, "scheduler": "karras", "denoise": 0.45, "expert": "low"},
            "polish": {"steps": 4, "scheduler": "beta", "denoise": 0.3, "cfg": 1, "expert": "low"},
        }
    },
    "split": {
        "steps": 8,
        "stages": {
            "high": {"sampler": "euler", "sigma_end": 0.8333, "expert": "high"},
            "middle": {"sampler": "heun", "sigma_end": 0.6, "expert": "low"},
            "low": {"sampler": "deis", "expert": "low"},
        },
    },
    "official_rule": {"stages": {"only": {"steps": 10, "sampler": "euler"}}},
    "karras_from_sigma": {
        "scheduler": "karras",
        "stages": {
            "establish": {"steps": 5, "sampler": "dpmpp_2m", "expert": "high"},
            "refine": {"steps": 6, "sampler": "dpmpp_2m", "sigma_start": 0.45, "expert": "low"},
        },
    },
    "exponential_from_sigma": {
        "scheduler": "exponential",
        "stages": {
            "establish": {"steps": 5, "expert": "high"},
            "refine": {"steps": 4, "sigma_start": 0.6, "expert": "low"},
        },
    },
    "sde": {
        "stages": {
            "establish": {"steps": 5, "sampler": "dpmpp_2m_sde", "expert": "high"},
            "refine": {"steps": 4, "sampler": "dpmpp_sde", "denoise": 0.4, "expert": "low"},
            "polish": {"steps": 4, "sampler": "dpmpp_3m_sde", "denoise": 0.3, "expert": "low"},
        }
    },
    "sde_split": {
        "steps": 8,
        "stages": {
            "high": {"sampler": "dpmpp_2m_sde", "sigma_end": 0.8333, "expert": "high"},
            "low": {"sampler": "dpmpp_2m_sde", "expert": "low"},
        },
    },
    "dropped_level": {
        "stages": {
            "establish": {"steps": 5, "sampler": "dpm_2", "expert": "high"},
            "refine": {"steps": 6, "sampler": "uni_pc", "denoise": 0.5, "expert": "low"},
            "polish": {"steps": 5, "sampler": "uni_pc_bh2", "denoise": 0.3, "expert": "low"},
        }
    },
    "mixed_split": {
        "steps": 8,
        "stages": {
            "high": {"sampler": "dpm_2", "sigma_end": 0.8333, "expert": "high"},
            "low": {"sampler": "ipndm", "expert": "low"},
        },
    },
    "own_schedule": {
        "steps": 12,
        "stages": {
            "high": {"steps": 3, "scheduler": "beta", "sigma_end": 0.8, "expert": "high"},
            "low": {"sampler": "euler", "expert": "low"},
        },
    },
    "typed_levels": {
        "stages": {
            "establish": {"steps": 4, "expert": "high"},
            "refine": {"steps": 5, "sigma_start": 0.5, "expert": "low", "shift": 8},
        }
    },
    "typed_sde": {
        "stages": {
            "high": {"steps": 4, "sigma_end": 0.82, "expert": "high"},
            "low": {"steps": 4, "sampler": "dpmpp_2m_sde", "shift": 8, "expert": "low"},
        }
    },
    "lora": {
        "stages": {
            "only": {
                "steps": 4,
                "expert": "high",
                "loras": {"styles/b.safetensors": -0.5, "a.safetensors": 1.0},
            }
        }
    },
}
"""On I2V-A14B at shift 5, with dpmpp_2m and simple where nothing is said."""


def recipe_of(tree: Settings) -> Recipe:
    """A recipe on I2V-A14B, as small as the golden chains' latents."""
    sizes = {"width": 64, "height": 48, "frames": 9, "scheduler": "simple", "shift": 5.0}
    return recipe_from({"name": "wan22_i2v_a14b"}, {**sizes, **tree})


def trial_of(tree: Settings, seed: int = 3) -> tuple[Trial, Plan]:
    recipe = recipe_of(tree)
    return Trial(recipe=recipe, case=CASE, seed=seed, memory=CPU), make_plan(recipe)


def random_stage(draw: random.Random) -> Settings:
    stage: Settings = {
        "sampler": draw.choice(list(SAMPLER_FACTS)),
        "cfg": draw.choice([None, 1, 3.5, 6.25]),
        "expert": draw.choice(["auto", "auto", "high", "high", "low"]),
    }
    if draw.random() < 0.6:
        stage["steps"] = draw.choice([1, 2, 3, 4, 8, 13, 20, 25])
    if draw.random() < 0.4:
        stage["scheduler"] = draw.choice(list(SCHEDULES))
    if draw.random() < 0.3:
        stage["shift"] = draw.choice([1, 2, 5, 8, 12])
    kind = draw.random()
    if kind < 0.3:
        stage["denoise"] = draw.choice([0.2, 0.3, 0.45, 0.55, 0.7, 0.95, 1.0])
    elif kind < 0.5:
        stage["sigma_start"] = draw.choice([0.1, 0.3, 0.45, 0.6, 0.95, 1.0])
    if draw.random() < 0.5:
        stage["sigma_end"] = draw.choice([0.95, 0.88, 0.7, 0.5, 0.3, 0.1])
    if draw.random() < 0.2:
        stage["loras"] = {"x.safetensors": 0.5, "y.safetensors": -1.0}
    return stage


def random_trials(seed: int, count: int) -> Iterator[tuple[Trial, Plan]]:
    """Trials of ``count`` draws, those left out that cannot be planned."""
    for number in range(count):
        draw = random.Random(seed + number)
        names = draw.sample(["establish", "refine", "polish", "high", "low"], draw.randint(1, 4))
        tree: Settings = {
            "stages": {name: random_stage(draw) for name in names},
            "scheduler": draw.choice(list(SCHEDULES)),
            "shift": draw.choice([1, 5, 8]),
            "steps": draw.choice([None, 4, 12, 20]),
        }
        try:
            yield trial_of(tree, draw.choice([0, 7, 123456]))
        except ConfigError:
            continue
