"""How to run, as opposed to what: none of this changes a pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

from wanexp.names import lookup
from wanexp.strict import ConfigError, build


@dataclass(frozen=True, kw_only=True)
class Cache:
    """The stage store: where it is, and how large it may become.

    Attributes:
        enabled: Without it every trial computes all of its stages.
        folder: None is ``.cache`` among the studies.
        limit_gb: In 10⁹ bytes; what was not used for the longest time goes first.
    """

    enabled: bool = True
    folder: str | None = None
    limit_gb: float = 20.0

    def __post_init__(self) -> None:
        if self.limit_gb <= 0:
            raise ConfigError(
                f"cache.limit_gb: expected more than 0, got {self.limit_gb:g}"
                " (cache.enabled=false does without the store)"
            )


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a run does with its videos.

    Attributes:
        metrics: Names to measure; None is all.
        measure_stages: Decode and measure what every stage hands over, not only the last.
        keep_latents: Store each stage's latent beside the video.
        lpips_weights: AlexNet's weights for LPIPS; None looks where torch hub keeps them.
        face_model: YuNet's ONNX file, which finds more faces; None looks with a cascade.
        studies: The folder that study folders go into.
        cache: The stage store.
        overlap: Score and write a video while the next one is sampled; ``auto`` does so where
            sampling runs on a GPU.
    """

    metrics: tuple[str, ...] | None = None
    measure_stages: bool = True
    keep_latents: bool = False
    lpips_weights: str | None = None
    face_model: str | None = None
    studies: str = "studies"
    cache: Cache = field(default_factory=Cache)
    overlap: Literal["auto", True, False] = "auto"

    def __post_init__(self) -> None:
        for key in ("lpips_weights", "face_model"):
            name = getattr(self, key)
            if name is not None and not Path(name).expanduser().is_file():
                raise ConfigError(f"{key}: there is no file {name!r}")

    @property
    def folder(self) -> Path:
        """``studies`` as an absolute path."""
        return Path(self.studies).expanduser().absolute()

    @property
    def cache_folder(self) -> Path:
        """Where the stage store is, in use or not."""
        if self.cache.folder is None:
            return self.folder / ".cache"
        return Path(self.cache.folder).expanduser().absolute()

    @property
    def cache_limit(self) -> int:
        """How many bytes the stage store may hold."""
        return int(self.cache.limit_gb * 1e9)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What a study decides on, fixed before anybody looks.

    Attributes:
        primary: The metric that the verdict rests on.
        baseline: The arm that the others are compared with; None is the study's first.
        margin: The smallest change of the primary metric that matters, as a share: 0.2 is 20 %
            less flicker, or a detail that is nearer to 1 by 0.2 of its logarithm.
        motion_margin: The share of its motion that an arm may lose at most.
        looks: Numbers of cases at which a verdict may fall early; the last look is at all cases.
        any_time: Look after every case, add cases without a plan; wider intervals instead.
        weights: Metric to its weight in a ranking by one figure; empty for no ranking.
        confirm: Try a study's winner again, beside the baseline and by the study's own protocol,
            on the cases and seeds that come with this one.
    """

    name: str
    primary: str
    why: str = ""
    baseline: str | None = None
    margin: float = 0.2
    motion_margin: float = 0.1
    looks: tuple[int, ...] = ()
    any_time: bool = False
    weights: Mapping[str, float] = field(default_factory=dict)
    confirm: bool = False

    def __post_init__(self) -> None:
        for key in ("margin", "motion_margin"):
            share = getattr(self, key)
            if not 0 < share < 1:
                raise ConfigError(f"protocol.{key}: expected a share in (0, 1), got {share:g}")
        if any(b <= a for a, b in pairwise((0, *self.looks))):
            raise ConfigError(
                f"protocol.looks: expected rising numbers of cases, got {list(self.looks)}"
            )
        if self.looks and self.any_time:
            raise ConfigError("protocol.looks: any_time looks after every case; give one of them")
        for name, weight in self.weights.items():
            if weight <= 0:
                raise ConfigError(
                    f"protocol.weights.{name}: expected more than 0, got {weight:g}"
                    " (leave out what does not count)"
                )


COSTS = ("model_calls", "seconds")
"""Of sampling one video alone; what a search may want less of."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """How a search chooses its arms.

    Attributes:
        arms: In all, those of earlier runs counted.
        seed: Of what it draws; which cases and seeds it makes videos of is the protocol's.
        objectives: Metrics and costs that are wanted at once; empty is the primary metric and
            ``model_calls``.
        startup: Arms that are drawn at random before it learns from any.
        prune_after: An arm that is worse than the baseline by more than the margin in each of so
            many first cases is given up; 0 gives up none.
    """

    arms: int
    seed: int = 0
    objectives: tuple[str, ...] = ()
    startup: int = 8
    prune_after: int = 2

    def __post_init__(self) -> None:
        for key, least in (("arms", 1), ("seed", 0), ("startup", 1), ("prune_after", 0)):
            if getattr(self, key) < least:
                raise ConfigError(f"search.{key}: expected at least {least}, got {vars(self)[key]}")

    @property
    def quality(self) -> str | None:
        """The first objective that is no cost."""
        return next((name for name in self.objectives if name not in COSTS), None)


def search_from(tree: Mapping[str, object], protocol: Protocol) -> Search | None:
    """A sweep's search; None where it has none.

    Raises:
        ConfigError: For an unknown key or objective, with the nearest one.
    """
    if not tree:
        return None
    search = build(Search, tree, "search")
    for name in search.objectives:
        if name not in COSTS:
            _check_metric("search.objectives", name, COSTS)
    if search.objectives:
        return search
    return replace(search, objectives=(protocol.primary, "model_calls"))


TRIAL_KEYS = ("model", "recipe", "case", "memory", "seed", "study", "arm")
OTHER_KEYS = ("protocol", "tracking")


def options_from(tree: Mapping[str, object]) -> Options:
    """The run's options out of a composed tree; keys that nobody reads are errors.

    Raises:
        ConfigError: With the key, or the metric that does not exist, and the nearest known one.
    """
    rest = {key: value for key, value in tree.items() if key not in TRIAL_KEYS + OTHER_KEYS}
    options = build(Options, rest, "the configuration")
    for name in options.metrics or ():
        if not name.startswith("detail:"):  # of a region; each case has its own
            _check_metric("metrics", name)
    _check_files(options)
    return options


def protocol_from(tree: Mapping[str, object]) -> Protocol:
    """The protocol of a composed tree, its metrics checked.

    Raises:
        ConfigError: For a metric that does not exist.
    """
    protocol = build(Protocol, tree.get("protocol"), "protocol")
    _check_metric("protocol.primary", protocol.primary)
    for name in protocol.weights:
        _check_metric("protocol.weights", name)
    return protocol


def _check_files(options: Options) -> None:
    """Refuses files that metrics were told to use and cannot."""
    if options.lpips_weights is not None:
        from wanexp.metrics.perceptual import why_not

        if wrong := why_not(Path(options.lpips_weights).expanduser()):
            raise ConfigError(f"lpips_weights: {wrong}")
    if options.face_model is not None:
        from wanexp.metrics.faces import load_yunet

        try:
            load_yunet(Path(options.face_model).expanduser(), (320, 320))
        except ValueError as error:
            raise ConfigError(f"face_model: {error}") from None


def _check_metric(where: str, name: str, beside: Sequence[str] = ()) -> None:
    """Refuses what is no metric, or one that decides nothing; ``beside`` are other right names."""
    from wanexp.metrics import METRICS

    try:
        metric = lookup("metric", {**METRICS, **dict.fromkeys(beside)}, name)
    except KeyError as error:
        raise ConfigError(f"{where}: {error.args[0]}") from None
    if metric is not None and metric.literature:
        raise ConfigError(f"{where}: {name} is there to compare with papers; it decides nothing")
