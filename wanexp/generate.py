"""The stage loop: a plan run on a backend, stage after stage.

Between stages the state is (x, sigma): the latent in model space, float32, and its noise level.
Nothing here touches global random state, so the same plan, conditioning and seeds give the same
bits on one device, alone or after another trial, from the start or from a stored stage.

Axes: B=1, C channels, F latent frames, h w latent cells.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wanexp.backends import Backend, Conditioning
from wanexp.noise import initial_noise, noise_ahead
from wanexp.plan import Plan, PlannedStage
from wanexp.sampler_facts import SAMPLER_FACTS, draws
from wanexp.samplers import SAMPLERS
from wanexp.samplers.seam import Denoise

OnEvaluation = Callable[[PlannedStage, int], None]
"""Told the stage and how many of its evaluations are done, after each of them."""


@dataclass(frozen=True, kw_only=True)
class StageEnd:
    """What a stage hands over.

    Attributes:
        latent: (1, C, F, h, w) float32 in model space, at noise level ``sigma``.
        sigma: 0 at the end of a video.
        denoised: What to decode here: the latent itself at sigma 0, else the last clean estimate.
        seconds: Of sampling, on the wall.
        model_calls: Executed in this stage, as counted at the experts.
        stored: Whether it was taken from the stage store; seconds and model calls are then those
            of the run that made it.
    """

    name: str
    latent: Tensor
    sigma: float
    denoised: Tensor
    seconds: float
    model_calls: int
    stored: bool = False


def generate(
    plan: Plan,
    conditioning: Conditioning,
    seeds: Sequence[int],
    backend: Backend,
    *,
    first: int = 0,
    latent: Tensor | None = None,
    on_evaluation: OnEvaluation | None = None,
) -> Iterator[StageEnd]:
    """Run a plan's stages from ``first`` on, handing out the end of each as it is reached.

    Args:
        plan: What runs.
        conditioning: Of the case, encoded by the same backend.
        seeds: One for each stage of the plan (``wanexp.seeds.stage_seed``).
        backend: Who runs it.
        first: The index of the first stage to run; those before it are done already.
        latent: What stage ``first`` − 1 handed over (``StageEnd.latent``); None where ``first``
            is 0.
        on_evaluation: Told of each evaluation, for a display.

    Raises:
        ValueError: The seeds or the latent do not fit the plan.
        RuntimeError: A sampler called the model at other levels than the plan says.
    """
    if len(seeds) != len(plan.stages):
        raise ValueError(f"{len(plan.stages)} stages need as many seeds, got {len(seeds)}")
    if (latent is None) != (first == 0):
        raise ValueError("give a latent if and only if stages before it are done already")
    if latent is not None and latent.shape != conditioning.latent_shape:
        raise ValueError(
            f"expected a latent {conditioning.latent_shape}, got {tuple(latent.shape)}"
        )
    for stage, seed in list(zip(plan.stages, seeds, strict=True))[first:]:
        denoise = _Planned(stage, conditioning, backend, on_evaluation)
        end = _run_stage(stage, denoise, seed, backend, latent)
        latent = end.latent
        yield end


@torch.no_grad()
def _run_stage(
    stage: PlannedStage, denoise: _Planned, seed: int, backend: Backend, latent: Tensor | None
) -> StageEnd:
    begun, called = time.perf_counter(), backend.model_calls
    noise = initial_noise(denoise.latent_shape, seed).to(backend.device)
    x = take_over(stage, noise, None if latent is None else latent.to(noise))
    levels = (stage.sigma_start, *stage.sigmas[1:])  # a Brownian path begins where x was noised at
    pairs = draws(stage.sampler, stage.sigmas)
    with noise_ahead(stage.sampler, x, seed, levels, pairs) as draw_noise:
        x = SAMPLERS[stage.sampler](denoise, x, stage.sigmas, draw_noise)
    denoise.check_all_done()
    if stage.sigma_end == 0:  # uni_pc stops a little above it
        x = x / (1 - SAMPLER_FACTS[stage.sampler].final_sigma)
    backend.finish_stage()
    return StageEnd(
        name=stage.name,
        latent=x,
        sigma=stage.sigma_end,
        denoised=x if stage.sigma_end == 0 else denoise.estimate,
        seconds=time.perf_counter() - begun,
        model_calls=backend.model_calls - called,
    )


def take_over(stage: PlannedStage, noise: Tensor, latent: Tensor | None) -> Tensor:
    """The x that a stage starts from, at noise level ``stage.sigma_start``.

    From nothing, noise on zeros. From a latent at sigma s1, fresh noise raises it to s2 ≥ s1: its
    clean part shrinks from 1 − s1 to 1 − s2, its noise with it, and what is missing to s2 is
    added: x2 = (1−s2)/(1−s1)·x1 + sqrt(s2² − (s1·(1−s2)/(1−s1))²)·noise.
    """
    if stage.takeover == "noise":
        return stage.sigma_start * noise
    if latent is None:
        raise ValueError(f"stage {stage.name} takes over a latent, there is none")
    if stage.takeover == "continue":
        return latent
    s1, s2 = stage.previous_end, stage.sigma_start
    keep = (1 - s2) / (1 - s1)
    return keep * latent + math.sqrt(s2**2 - (s1 * keep) ** 2) * noise


class _Planned:
    """``denoise(x, sigma)`` of a whole stage: each evaluation asks the expert the plan names."""

    def __init__(
        self,
        stage: PlannedStage,
        conditioning: Conditioning,
        backend: Backend,
        on_evaluation: OnEvaluation | None,
    ) -> None:
        self.latent_shape = conditioning.latent_shape
        self._stage = stage
        self._by_expert: dict[str, Denoise] = {
            expert: backend.denoiser(
                conditioning,
                expert=expert,
                cfg=stage.cfg,
                loras=stage.loras,
                step_cache=stage.step_cache,
                evaluations=stage.experts.count(expert),
            )
            for expert in dict.fromkeys(stage.experts)
        }
        self._done = 0
        self._on_evaluation = on_evaluation
        self.estimate = torch.empty(0)

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        planned = self._stage.evaluation_sigmas
        if self._done == len(planned) or not math.isclose(
            sigma, planned[self._done], rel_tol=1e-6, abs_tol=1e-9
        ):
            raise self._surprise(f"called the model at sigma {sigma:.6g}")
        expert = self._stage.experts[self._done]
        self.estimate = self._by_expert[expert](x, sigma)
        self._done += 1
        if self._on_evaluation is not None:
            self._on_evaluation(self._stage, self._done)
        return self.estimate

    def check_all_done(self) -> None:
        if self._done != len(self._stage.experts):
            raise self._surprise("stopped")

    def _surprise(self, what: str) -> RuntimeError:
        stage = self._stage
        return RuntimeError(
            f"stage {stage.name}: {stage.sampler} {what} after {self._done} of the plan's"
            f" {len(stage.experts)} evaluations; the plan and the sampler disagree"
        )
