"""How to run, as opposed to what: none of this changes a pixel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wanexp.names import lookup
from wanexp.strict import ConfigError, build


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a run does with its videos.

    Attributes:
        metrics: Names to measure; None is all.
        measure_stages: Decode and measure what every stage hands over, not only the last.
        keep_latents: Store each stage's latent beside the video.
        studies: The folder that study folders go into.
    """

    metrics: tuple[str, ...] | None = None
    measure_stages: bool = True
    keep_latents: bool = False
    studies: str = "studies"

    @property
    def folder(self) -> Path:
        """``studies`` as an absolute path."""
        return Path(self.studies).expanduser().absolute()


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What a study decides on, fixed before anybody looks.

    Attributes:
        primary: The metric that the verdict rests on.
    """

    name: str
    primary: str
    why: str = ""


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
    return options


def protocol_from(tree: Mapping[str, object]) -> Protocol:
    """The protocol of a composed tree, its primary metric checked.

    Raises:
        ConfigError: For a metric that does not exist.
    """
    protocol = build(Protocol, tree.get("protocol"), "protocol")
    _check_metric("protocol.primary", protocol.primary)
    return protocol


def _check_metric(where: str, name: str) -> None:
    from wanexp.metrics import METRICS

    try:
        lookup("metric", METRICS, name)
    except KeyError as error:
        raise ConfigError(f"{where}: {error.args[0]}") from None
