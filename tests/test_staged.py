"""Model calls of whole sweeps with the stage store, counted where an expert runs; and their bits.

The model is a random Wan of two tiny experts, so that sweeps run in full.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from safetensors.torch import load_file
from torch.nn.modules.module import register_module_forward_pre_hook

from wanexp import staged
from wanexp.backends import Backend, Conditioning
from wanexp.backends.diffusers import DiffusersBackend
from wanexp.cache import Store, held, read_entry
from wanexp.compose import expand_sweep
from wanexp.config import Trial, recipe_from
from wanexp.generate import StageEnd, generate
from wanexp.memory import Memory
from wanexp.models import MODELS
from wanexp.order import neighbours
from wanexp.planned import PlannedTrial, plan_trial, shared_model_calls
from wanexp.seeds import stage_seed
from wanexp.staged import encode_case, run_stages
from wanexp.study import plan_trials

PACKAGE = Path(staged.__file__).parent
GOLDEN = Path(__file__).parent / "golden" / "e2e"
SIZE = ["recipe.width=64", "recipe.height=48", "recipe.frames=9"]
MODEL = ["model=wan22_i2v_a14b", f"model.source={GOLDEN}", *SIZE]
FEW = ["recipe.stages.establish.steps=3", "recipe.stages.refine.steps=3"]
LIMIT = 10**9


class Meter:
    """Latents that were put through an expert, counted at the expert."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, module: torch.nn.Module, arguments: tuple[object, ...]) -> None:
        if isinstance(module, WanTransformer3DModel):
            self.calls += 1  # a batch of one: the backend calls each branch on its own


@pytest.fixture
def meter() -> Iterator[Meter]:
    meter = Meter()
    handle = register_module_forward_pre_hook(meter)
    yield meter
    handle.remove()


@pytest.fixture(scope="module")
def backend() -> DiffusersBackend:
    memory = Memory(device="cpu", dtype="float32")
    return DiffusersBackend(folder=GOLDEN, model=MODELS["wan22_i2v_a14b"], memory=memory)


@pytest.fixture(scope="module")
def conditioning() -> Conditioning:
    given = load_file(GOLDEN / "inputs.safetensors")
    mask = (1 - given["mask"]).repeat(1, 4, 1, 1, 1)
    return Conditioning(
        positive=given["positive"],
        negative=given["negative"],
        image=torch.cat([mask, given["image_latent"]], dim=1),
        latent_shape=(1, 16, 3, 6, 8),
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", LIMIT)


def planned(name: str, *overrides: str) -> list[PlannedTrial]:
    return neighbours(plan_trials(expand_sweep(name, [*MODEL, *overrides])))


def run_all(
    trials: Sequence[PlannedTrial],
    conditioning: Conditioning,
    backend: Backend,
    store: Store | None,
) -> dict[str, list[StageEnd]]:
    return {t.digest: list(run_stages(t, conditioning, backend, store)) for t in trials}


def same_bits(one: Sequence[StageEnd], other: Sequence[StageEnd]) -> bool:
    return all(
        torch.equal(a.latent, b.latent) and torch.equal(a.denoised, b.denoised)
        for a, b in zip(one, other, strict=True)
    )


# Counts


def test_the_guides_ab_protocol_costs_its_prefix_tree(conditioning, backend, store, meter):
    trials = planned("ab_protocol")
    assert (len(trials), sum(t.plan.model_calls for t in trials)) == (16, 1400)
    ends = run_all(trials, conditioning, backend, store)
    assert meter.calls == shared_model_calls(trials) == 968
    assert sum(e.model_calls for t in ends.values() for e in t if not e.stored) == 968
    assert sum(e.model_calls for t in ends.values() for e in t) == 1400


GRID = [
    *("case=coffee", "seed=0", "recipe.stages.polish.steps=3"),
    *("recipe.stages.polish.denoise=0.2,0.3,0.5", "recipe.stages.polish.cfg=1.0,3.0,5.0"),
]


def test_a_grid_on_the_last_stage_costs_the_first_ones_once(conditioning, backend, store, meter):
    trials = planned("polish", *GRID, *FEW)
    assert len(trials) == 9
    run_all(trials, conditioning, backend, store)
    first, second, third = zip(*(t.plan.stages for t in trials), strict=True)
    assert meter.calls == shared_model_calls(trials)
    assert meter.calls == (
        first[0].model_calls + second[0].model_calls + sum(stage.model_calls for stage in third)
    )


def test_other_steps_of_the_last_stage_leave_the_first_ones_alone(
    conditioning, backend, store, meter
):
    last = [f"recipe.stages.polish.{word}" for word in ("steps=2,3,4,6", "cfg=1", "denoise=0.5")]
    trials = planned("polish", "case=coffee", "seed=0,1", *FEW, *last)
    run_all(trials, conditioning, backend, store)
    assert meter.calls == shared_model_calls(trials)
    shared = sum(stage.model_calls for stage in trials[0].plan.stages[:2])
    assert meter.calls == 2 * (shared + 2 + 3 + 4 + 6)


SPLIT = {
    "high": {"sampler": "euler", "sigma_end": 0.85},
    "low": {"sampler": "dpmpp_2m", "sigma_end": 0.4},
    "last": {"sampler": "euler", "cfg": 2.0},
}


def split_trials(*lasts: dict[str, object]) -> list[PlannedTrial]:
    """A split of one schedule whose last stage varies."""
    (whole, *_) = planned("ab_protocol", "case=coffee", "seed=0")
    trials = []
    for number, last in enumerate(lasts):
        stages = {**SPLIT, "last": {**SPLIT["last"], **last}}
        size = {"width": 64, "height": 48, "frames": 9}
        recipe = recipe_from(
            {"name": "wan22_i2v_a14b", "source": str(GOLDEN)},
            {**size, "scheduler": "simple", "steps": 8, "stages": stages},
        )
        trial = Trial(recipe=recipe, case=whole.trial.case, seed=0)
        trials.append(plan_trial(trial, str(number)))
    return trials


def test_a_split_whose_last_stage_changes_keeps_the_others(conditioning, backend, store, meter):
    trials = split_trials({}, {"cfg": 1.0}, {"cfg": 5.0}, {"sampler": "heun"}, {"shift": 2.0})
    ends = run_all(trials, conditioning, backend, store)
    assert meter.calls == shared_model_calls(trials)
    assert meter.calls < sum(t.plan.model_calls for t in trials)
    for one in ends.values():
        assert [e.sigma > 0 for e in one] == [True, True, False]
    for one in list(ends.values())[1:]:
        assert [e.stored for e in one] == [True, True, False]


def test_a_stored_split_stage_can_still_be_decoded(conditioning, backend, store):
    (trial,) = split_trials({})
    made = list(run_stages(trial, conditioning, backend, store))
    found = list(run_stages(trial, conditioning, backend, store))
    assert all(end.stored for end in found)
    assert same_bits(made, found)
    assert not torch.equal(found[0].denoised, found[0].latent)
    assert [e.seconds for e in found] == [e.seconds for e in made]


def test_the_same_sweep_again_makes_no_model_call_also_in_another_order(
    conditioning, backend, store, meter
):
    trials = planned("ab_protocol", "case=coffee", "seed=0", *FEW)
    random.Random(0).shuffle(trials)
    run_all(trials, conditioning, backend, store)
    assert meter.calls == shared_model_calls(trials)
    again = run_all(trials, conditioning, backend, Store(store.folder, LIMIT))  # a new process
    assert meter.calls == shared_model_calls(trials)
    assert all(end.stored for ends in again.values() for end in ends)


def test_an_added_seed_or_grid_value_costs_the_difference(conditioning, backend, store, meter):
    axis = "recipe.stages.refine.denoise"
    before = planned("refine_denoise", "case=coffee", "seed=0", f"{axis}=0.3,0.5", *FEW)
    run_all(before, conditioning, backend, store)
    for overrides in (["seed=0,1", f"{axis}=0.3,0.5"], ["seed=0,1", f"{axis}=0.3,0.5,0.7"]):
        begun = meter.calls
        after = planned("refine_denoise", "case=coffee", *overrides, *FEW)
        run_all(after, conditioning, backend, store)
        assert meter.calls - begun == shared_model_calls(after) - shared_model_calls(before)
        before = after


def test_without_a_store_every_trial_costs_all_of_its_stages(conditioning, backend, meter):
    trials = planned("ab_protocol", "case=coffee", "seed=0", *FEW)
    ends = run_all(trials, conditioning, backend, None)
    assert meter.calls == sum(t.plan.model_calls for t in trials) > shared_model_calls(trials)
    assert not any(end.stored for one in ends.values() for end in one)


# Bits


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m_sde", "euler_ancestral", "uni_pc"])
def test_bits_are_equal_with_and_without_the_store(sampler, conditioning, backend, store):
    samplers = [f"recipe.stages.{stage}.sampler={sampler}" for stage in ("establish", "refine")]
    axis = "recipe.stages.refine.denoise=0.3,0.5,0.8"
    trials = planned("refine_denoise", "case=coffee", "seed=0", axis, *samplers, *FEW)
    plain = run_all(trials, conditioning, backend, None)
    first = run_all(trials, conditioning, backend, store)
    second = run_all(trials, conditioning, backend, store)
    for trial in trials:
        seeds = [stage_seed(trial.seed, k) for k in range(2)]
        alone = list(generate(trial.plan, conditioning, seeds, backend))
        assert same_bits(alone, plain[trial.digest])
        assert same_bits(alone, first[trial.digest])
        assert same_bits(alone, second[trial.digest])


# What is and is not the same


def test_an_entry_of_another_machine_or_code_is_not_used(
    conditioning, backend, store, meter, monkeypatch
):
    trials = planned("ab_protocol", "case=coffee", "seed=0", *FEW)[:1]
    run_all(trials, conditioning, backend, store)
    monkeypatch.setattr(staged, "cpu_model", lambda: "another")
    run_all(trials, conditioning, backend, store)
    monkeypatch.setattr(staged, "_code_digest", lambda: "changed")
    run_all(trials, conditioning, backend, store)
    assert meter.calls == 3 * trials[0].plan.model_calls


def imported(files: Sequence[Path], seen: set[Path]) -> set[Path]:
    """The files of wanexp that these import, those that they import, and so on."""
    for file in files:
        if file not in seen:
            seen.add(file)
            tree = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            names = [node.module for node in tree if isinstance(node, ast.ImportFrom)]
            places = [PACKAGE.parent / name.replace(".", "/") for name in names if name]
            found = [p.with_suffix(".py") for p in places] + [p / "__init__.py" for p in places]
            imported([path for path in found if path.exists() and PACKAGE in path.parents], seen)
    return seen


def test_every_file_that_makes_a_latent_counts_for_the_key():
    """But for those whose work is in the plan, and those that only find fault."""
    files = [PACKAGE / f"{name}.py" for name in ("generate", "images", "backends/diffusers")]
    rooms = {path.relative_to(PACKAGE).parts[0] for path in imported(files, set())}
    assert set(staged.CODE) <= rooms
    planning = {"config.py", "memory.py", "plan.py", "plan_rules.py", "schedules.py"}
    assert rooms - set(staged.CODE) == {*planning, "step_cache.py", "names.py", "strict.py"}


# Damage


@pytest.mark.parametrize("damage", ["cut off", "a bit flipped", "empty", "foreign", "no store's"])
def test_a_damaged_entry_is_computed_again_to_the_same_bits(
    damage, conditioning, backend, store, meter, caplog
):
    (trial,) = split_trials({})
    made = list(run_stages(trial, conditioning, backend, store))
    paths = {read_entry(e.path).facts["sigma"]: e.path for e in held(store.folder)}
    hurt, other = paths[made[1].sigma], paths[0]
    data = hurt.read_bytes()
    damaged = {
        "cut off": data[:-100],
        "a bit flipped": data[:-100] + bytes([data[-100] ^ 1]) + data[-99:],
        "empty": b"",
        "foreign": other.read_bytes(),
        "no store's": (GOLDEN / "inputs.safetensors").read_bytes(),
    }[damage]
    hurt.write_bytes(damaged)
    begun = meter.calls
    found = list(run_stages(trial, conditioning, backend, store))
    assert [end.stored for end in found] == [True, False, True]
    assert meter.calls - begun == trial.plan.stages[1].model_calls
    assert same_bits(made, found)
    assert len(caplog.records) == 1 and "computed again" in caplog.text and hurt.name in caplog.text
    again = list(run_stages(trial, conditioning, backend, store))
    assert all(end.stored for end in again)


# What a case tells the model


class Reader:
    """A backend that says how often it was asked to read; what it reads is told from its input."""

    device, weights = torch.device("cpu"), "w"

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.images = 0

    def encode_text(self, text: str) -> torch.Tensor:
        self.texts.append(text)
        return torch.full((1, 4, 8), float(len(text)))

    def encode_image(self, source: np.ndarray, frames: int) -> torch.Tensor:
        self.images += 1
        return torch.full((1, 20, (frames - 1) // 4 + 1, 6, 8), float(source.mean()))

    def latent_shape(self, width: int, height: int, frames: int) -> tuple[int, ...]:
        return (1, 16, (frames - 1) // 4 + 1, height // 8, width // 8)


def test_a_case_is_read_once_and_never_where_the_store_has_it(store):
    trials = planned("ab_protocol", "case=coffee,astronaut", "seed=0,1")
    source = {
        "coffee": np.zeros((48, 64, 3), np.uint8),
        "astronaut": np.ones((48, 64, 3), np.uint8),
    }
    for kept, texts, images in ((None, 4, 2), (store, 3, 2), (store, 0, 0)):
        reader = Reader()
        told = [encode_case(t, source[t.case], reader, kept) for t in trials]  # type: ignore[arg-type]
        assert (len(reader.texts), reader.images) == (texts, images)
        for trial, one in zip(trials, told, strict=True):
            assert float(one.positive[0, 0, 0]) == len(trial.trial.case.prompt)
            assert one.negative is not None
            assert one.image is not None
            assert float(one.image.mean()) == source[trial.case].mean()
            assert one.latent_shape == (1, 16, 3, 6, 8)
