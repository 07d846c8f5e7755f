"""A ComfyUI workflow → the chain of samplers in it: what each runs, on what, from which levels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from wanexp.models import MODELS, Model
from wanexp.presets.comfy_graph import REROUTE
from wanexp.presets.comfy_levels import Levels, curve_levels, schedule
from wanexp.presets.comfy_nodes import Graph, Link, Node
from wanexp.sampler_facts import facts_of
from wanexp.schedules import SCHEDULES, shift_time
from wanexp.strict import ConfigError

SAMPLERS = ("KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced")
STARTS = {
    "WanImageToVideo": "wan22_i2v_a14b",
    "EmptyHunyuanLatentVideo": "wan22_t2v_a14b",
    "Wan22ImageToVideoLatent": "wan22_ti2v_5b",
}
"""The nodes that a chain starts from, and the model that each is for."""

LOADERS = ("UNETLoader", "UnetLoaderGGUF")
PASSING = (REROUTE, "TorchCompileModel", "TorchCompileModelWanVideoV2", "PathchSageAttentionKJ")
"""Nodes that hand a model on and do not change what it means."""

SHIFT = 8.0
"""ComfyUI's for every Wan, where no node says otherwise."""

NUMBER = re.compile(r"[-+]?\d*\.?\d+")
DIGITS = 9
"""Decimals that a setting is read to: the page writes 5.000000000000001 for 5."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one sampler node runs.

    Attributes:
        levels: From the one that its latent is noised at.
        steps: Of the whole schedule that the levels are a part of; None where there is none.
        start: Where in it they begin; None for the node's last ``steps`` of a longer one.
        scheduler: None for levels that were typed in.
    """

    node: str
    title: str
    sampler: str
    scheduler: str | None
    steps: int | None
    denoise: float
    start: int | None
    shift: float
    cfg: float
    levels: Levels
    adds_noise: bool
    seed: int
    file: str
    loras: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A workflow's samplers in order, and what they work on."""

    model: str
    width: int
    height: int
    frames: int
    fps: int | None
    prompt: str
    negative_prompt: str
    image: str
    runs: tuple[Run, ...]


@dataclass(frozen=True, kw_only=True)
class _Levels:
    """What a sigmas link carries."""

    levels: Levels
    scheduler: str | None = None
    steps: int | None = None
    denoise: float = 1.0
    start: int | None = None


def read_chain(graph: Graph, where: str, last: str | None = None) -> Chain:
    """The chain that ends at node ``last``, or the only one that there is.

    Raises:
        ConfigError: There is none or more than one, or it has a node that wanexp has no word for.
    """
    return _Reader(graph, where).chain(last)


class _Reader:
    """A graph and how to ask it; errors name the node."""

    def __init__(self, graph: Graph, where: str) -> None:
        self.graph, self.where = graph, where

    def chain(self, last: str | None) -> Chain:
        name = self._last() if last is None else last
        if name not in self.graph or self.graph[name].type not in SAMPLERS:
            raise ConfigError(f"{self.where}: node {name} is no sampler{self._choices()}")
        runs: list[Run] = []
        link: Link = name, 0
        while self.graph[link[0]].type in SAMPLERS:
            run = self._run(*link)
            runs.append(run)
            link = self._link(run.node, "latent_image")
            if len(runs) > len(self.graph):
                raise self._refused(run.node, "feeds itself")
        start = link[0]
        if self.graph[start].type not in STARTS:
            raise self._refused(start, f"the chain starts from it, expected {' or '.join(STARTS)}")
        return self._described(start, tuple(reversed(runs)))

    def _described(self, start: str, runs: tuple[Run, ...]) -> Chain:
        model = STARTS[self.graph[start].type]
        if int(self._number(start, "batch_size", 1)) != 1:
            raise self._refused(start, "makes several videos at once; batch_size 1 is one trial")
        texts = {self._prompts(run.node, start) for run in runs}
        if len(texts) > 1:
            raise self._refused(runs[-1].node, "has other prompts than the samplers before it")
        prompt, negative = next(iter(texts))
        return Chain(
            model=model,
            width=int(self._number(start, "width")),
            height=int(self._number(start, "height")),
            frames=int(self._number(start, "length")),
            fps=self._fps(),
            prompt=prompt,
            negative_prompt=negative,
            image=self._image(start, MODELS[model]),
            runs=runs,
        )

    def _last(self) -> str:
        """The one sampler whose latent no other takes."""
        ends = self._ends()
        if len(ends) != 1:
            what = "no sampler" if not ends else f"{len(ends)} chains of samplers"
            raise ConfigError(f"{self.where}: has {what}{self._choices()}")
        return ends[0]

    def _ends(self) -> list[str]:
        names = [name for name, node in self.graph.items() if node.type in SAMPLERS]
        taken = {self._maybe_link(name, "latent_image") for name in names}
        inner = {link[0] for link in taken if link is not None}
        return [name for name in names if name not in inner]

    def _choices(self) -> str:
        ends = self._ends()
        return f"; --node takes one of {', '.join(ends)}" if len(ends) > 1 else ""

    def _run(self, name: str, output: int) -> Run:
        kind = self.graph[name].type
        found = {
            "KSampler": self._ksampler,
            "KSamplerAdvanced": self._advanced,
            "SamplerCustom": self._custom,
            "SamplerCustomAdvanced": self._custom_advanced,
        }[kind](name)
        if output == 1 and found.levels[-1] > 0:
            raise self._refused(name, "hands on its estimate (denoised_output) before sigma 0")
        return found

    def _ksampler(self, name: str) -> Run:
        steps, denoise = int(self._number(name, "steps")), self._number(name, "denoise", 1.0)
        scheduler, sampler = self._scheduler(name), self._sampler(name)
        model, shift = self._model(name)
        levels = schedule(scheduler, steps, shift, denoise=denoise, sampler=sampler)
        found = _Levels(levels=levels, scheduler=scheduler, steps=steps, denoise=denoise)
        return self._made(name, found, model, shift, sampler, name, adds_noise=True)

    def _advanced(self, name: str) -> Run:
        steps, sampler, scheduler = (
            int(self._number(name, "steps")),
            self._sampler(name),
            self._scheduler(name),
        )
        model, shift = self._model(name)
        grid = schedule(scheduler, steps, shift, sampler=sampler)
        start = int(self._number(name, "start_at_step"))
        end = min(int(self._number(name, "end_at_step")), len(grid) - 1)
        levels = grid[start : end + 1]
        if end < len(grid) - 1 and self._text(name, "return_with_leftover_noise") == "disable":
            levels = (*levels[:-1], 0.0)
        found = _Levels(levels=levels, scheduler=scheduler, steps=steps, start=start)
        adds = self._text(name, "add_noise") == "enable"
        return self._made(name, found, model, shift, sampler, name, adds_noise=adds)

    def _custom(self, name: str) -> Run:
        model, shift = self._model(name)
        found = self._sigmas(*self._link(name, "sigmas"))
        sampler = self._sampler(self._link(name, "sampler")[0])
        adds = self.graph[name].inputs.get("add_noise") is not False
        return self._made(name, found, model, shift, sampler, name, adds_noise=adds)

    def _custom_advanced(self, name: str) -> Run:
        guider, noise = self._link(name, "guider")[0], self._link(name, "noise")[0]
        self._expect(guider, "CFGGuider", "BasicGuider")
        self._expect(noise, "RandomNoise", "DisableNoise")
        model, shift = self._model(guider)
        found = self._sigmas(*self._link(name, "sigmas"))
        sampler = self._sampler(self._link(name, "sampler")[0])
        adds = self.graph[noise].type == "RandomNoise"
        return self._made(name, found, model, shift, sampler, guider, adds_noise=adds)

    def _made(
        self,
        name: str,
        found: _Levels,
        model: tuple[str, Mapping[str, float]],
        shift: float,
        sampler: str,
        guide: str,
        *,
        adds_noise: bool,
    ) -> Run:
        if len(found.levels) < 2:
            raise self._refused(name, "takes no step: its levels are empty; remove it")
        guided = self.graph[guide].type != "BasicGuider"
        return Run(
            node=name,
            title=self.graph[name].title,
            sampler=sampler,
            scheduler=found.scheduler,
            steps=found.steps,
            denoise=found.denoise,
            start=found.start,
            shift=shift,
            cfg=self._number(guide, "cfg") if guided else 1.0,
            levels=found.levels,
            adds_noise=adds_noise,
            seed=self._seed(name),
            file=model[0],
            loras=model[1],
        )

    def _seed(self, name: str) -> int:
        node = self.graph[name]
        if node.type == "SamplerCustomAdvanced":
            name = self._link(name, "noise")[0]
            node = self.graph[name]
        key = "seed" if "seed" in node.inputs else "noise_seed"
        return int(self._number(name, key, 0))

    def _model(self, name: str) -> tuple[tuple[str, Mapping[str, float]], float]:
        """The file of the expert that a node works with, its LoRAs, and the shift."""
        shift: float | None = None
        loras: dict[str, float] = {}
        name = self._link(name, "model")[0]
        while self.graph[name].type not in LOADERS:
            kind = self.graph[name].type
            if kind == "ModelSamplingSD3":
                shift = self._number(name, "shift") if shift is None else shift
            elif kind in ("LoraLoaderModelOnly", "LoraLoader"):
                if kind == "LoraLoader" and self._number(name, "strength_clip", 0.0):
                    raise self._refused(name, "changes the text encoder, which a recipe cannot")
                lora = self._text(name, "lora_name")
                loras[lora] = loras.get(lora, 0.0) + self._number(name, "strength_model")
            elif kind not in PASSING:
                raise self._refused(name, "changes the model in a way that a recipe cannot")
            name = self._link(name, "model")[0]
        worn = {lora: strength for lora, strength in loras.items() if strength}
        return (self._text(name, "unet_name"), worn), SHIFT if shift is None else shift

    def _sigmas(self, name: str, output: int) -> _Levels:
        kind = self.graph[name].type
        if kind == "BasicScheduler":
            steps, denoise = int(self._number(name, "steps")), self._number(name, "denoise", 1.0)
            scheduler, (_, shift) = self._scheduler(name), self._model(name)
            levels = schedule(scheduler, steps, shift, denoise=denoise)
            start = 0 if denoise > 0.9999 else None
            return _Levels(
                levels=levels, scheduler=scheduler, steps=steps, denoise=denoise, start=start
            )
        if kind in ("KarrasScheduler", "ExponentialScheduler"):
            if self._number(name, "rho", 7.0) != 7.0:
                raise self._refused(name, "has another rho than 7, which no schedule here has")
            scheduler = "karras" if kind == "KarrasScheduler" else "exponential"
            ends = [self._number(name, key) for key in ("sigma_max", "sigma_min")]
            steps = int(self._number(name, "steps"))
            try:
                return _Levels(levels=curve_levels(scheduler, steps, *ends), scheduler=scheduler)
            except ValueError as error:
                raise self._refused(name, str(error)) from None
        if kind == "ManualSigmas":
            numbers = NUMBER.findall(self._text(name, "sigmas"))
            return _Levels(levels=tuple(map(float, numbers)))
        if kind not in ("SplitSigmas", "SetFirstSigma"):
            raise self._refused(name, "gives sigmas that wanexp has no word for")
        inner = self._sigmas(*self._link(name, "sigmas"))
        if kind == "SetFirstSigma":
            first = self._number(name, "sigma")
            return _Levels(
                levels=(first, *inner.levels[1:]), scheduler=inner.scheduler, steps=inner.steps
            )
        step = int(self._number(name, "step"))
        cut = inner.levels[: step + 1] if output == 0 else inner.levels[step:]
        start = None if inner.start is None else inner.start + (0 if output == 0 else step)
        return _Levels(levels=cut, scheduler=inner.scheduler, steps=inner.steps, start=start)

    def _sampler(self, name: str) -> str:
        if self.graph[name].type != "KSamplerSelect" and "sampler_name" not in (
            self.graph[name].inputs
        ):
            raise self._refused(name, "is a sampler that wanexp has no word for")
        sampler = self._text(name, "sampler_name")
        try:
            facts_of(sampler)
        except (ValueError, KeyError) as error:
            raise self._refused(name, str(error.args[0])) from None
        return sampler

    def _scheduler(self, name: str) -> str:
        scheduler = self._text(name, "scheduler")
        if scheduler not in SCHEDULES:
            raise self._refused(
                name, f"no scheduler named {scheduler!r} here (have: {', '.join(SCHEDULES)})"
            )
        return scheduler

    def _prompts(self, name: str, start: str) -> tuple[str, str]:
        node = self.graph[name]
        if node.type == "SamplerCustomAdvanced":
            name = self._link(name, "guider")[0]
        positive = "conditioning" if self.graph[name].type == "BasicGuider" else "positive"
        return self._prompt(name, positive, start), self._prompt(name, "negative", start)

    def _prompt(self, name: str, key: str, start: str) -> str:
        link = self._maybe_link(name, key)
        if link is not None and link[0] == start:
            link = self._maybe_link(start, "positive" if link[1] == 0 else "negative")
        if link is None or self.graph[link[0]].type != "CLIPTextEncode":
            return ""
        text = self.graph[link[0]].inputs.get("text", "")
        return text if isinstance(text, str) else ""

    def _image(self, start: str, model: Model) -> str:
        link = self._maybe_link(start, "start_image")
        if link is None and model.needs_image:
            raise self._refused(start, f"has no start_image, and {model.name} needs one")
        if link is None:
            return ""
        node = self.graph[link[0]]
        return str(node.inputs.get("image", "")) if node.type == "LoadImage" else ""

    def _fps(self) -> int | None:
        found = [name for name, node in self.graph.items() if node.type == "CreateVideo"]
        rate = self._number(found[0], "fps", 0.0) if found else 0.0
        return int(rate) if rate and rate == int(rate) else None

    def _expect(self, name: str, *kinds: str) -> None:
        if self.graph[name].type not in kinds:
            raise self._refused(name, f"expected {' or '.join(kinds)} here")

    def _link(self, name: str, key: str) -> Link:
        link = self._maybe_link(name, key)
        if link is None:
            raise self._refused(name, f"its {key} is not connected")
        return link

    def _maybe_link(self, name: str, key: str) -> Link | None:
        value = self.graph[name].inputs.get(key)
        if isinstance(value, tuple) and value[0] in self.graph:
            return str(value[0]), int(value[1])
        return None

    def _value(self, name: str, key: str) -> object:
        """A setting; one that another node feeds is read there, if it is a plain value."""
        value = self.graph[name].inputs.get(key)
        for _ in self.graph:
            if not isinstance(value, tuple):
                return value
            feeder = self.graph.get(str(value[0]), Node(type=""))
            if feeder.type == "SamplingPercentToSigma":
                return self._level_at(str(value[0]))
            if "value" not in feeder.inputs:
                raise self._refused(name, f"its {key} is computed by a {feeder.type} node")
            value = feeder.inputs["value"]
        raise self._refused(name, f"its {key} feeds itself")

    def _level_at(self, name: str) -> float:
        """The level that a node finds so far on the way from sigma 1 to 0 in time."""
        (_, shift), share = self._model(name), self._number(name, "sampling_percent")
        if not 0 < share < 1:
            raise self._refused(name, f"expected a share in (0, 1), got {share:g}")
        return shift_time(1 - share, shift)

    def _number(self, name: str, key: str, default: float | None = None) -> float:
        value = self._value(name, key)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._refused(name, f"its {key} should be a number, not {value!r}")
        return value if isinstance(value, int) else round(value, DIGITS)

    def _text(self, name: str, key: str) -> str:
        value = self._value(name, key)
        if not isinstance(value, str):
            raise self._refused(name, f"its {key} should be text, not {value!r}")
        return value

    def _refused(self, name: str, why: str) -> ConfigError:
        return ConfigError(f"{self.where}: node {name} ({self.graph[name].type}): {why}")
