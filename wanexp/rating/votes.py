"""What people said, one file of lines for each rater: ``studies/NAME/ratings/RATER.jsonl``.

A line is an answer to one pair. Lines are only ever added, and reach the disk before the next pair
is shown; of two answers to the same pair the later one counts.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple, cast, get_args

from wanexp.record import StudyPaths, utc_now
from wanexp.strict import ConfigError

QUESTIONS = ("motion", "detail", "consistency", "overall")
Choice = Literal["left", "right", "same"]
CHOICES: tuple[Choice, ...] = get_args(Choice)
RATER_NAME = re.compile(r"[\w-]{1,40}")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One look at one pair.

    Attributes:
        left, right: The arms, as they stood.
        choices: Question to the better side.
        seconds: From the pair's appearance to its last choice.
        at: UTC.
    """

    rater: str
    case: str
    seed: int
    left: str
    right: str
    choices: Mapping[str, Choice]
    seconds: float
    at: str = ""

    def __post_init__(self) -> None:
        if set(self.choices) != set(QUESTIONS):
            raise ValueError(f"choices: expected one for each of {', '.join(QUESTIONS)}")
        for question, choice in self.choices.items():
            if choice not in CHOICES:
                raise ValueError(f"{question}: expected left, right or same, got {choice!r}")

    @property
    def pair(self) -> tuple[str, int, frozenset[str]]:
        """What was compared, whichever way round."""
        return self.case, self.seed, frozenset((self.left, self.right))

    def better(self, question: str) -> str | None:
        """The arm that was chosen; None for the same."""
        return {"left": self.left, "right": self.right, "same": None}[self.choices[question]]


class Answers(NamedTuple):
    """What a study's raters said, and the lines that cannot be read, with the reason."""

    answers: list[Answer]
    damaged: list[str]


def ratings_folder(study: StudyPaths) -> Path:
    """Where a study's answers lie."""
    return study.root / "ratings"


def rater_from(name: str) -> str:
    """A name that can be a file's.

    Raises:
        ConfigError: It cannot.
    """
    if not RATER_NAME.fullmatch(name):
        raise ConfigError(
            f"--rater: expected 1 to 40 letters, digits, _ or -, got {name!r}"
            f" (such as {re.sub(r'[^0-9A-Za-z_-]+', '-', name).strip('-')[:40] or 'anna'!r})"
        )
    return name


def keep_answer(study: StudyPaths, answer: Answer) -> None:
    """Adds an answer to its rater's file; it is on the disk when this returns.

    Raises:
        OSError: The disk is full, or the folder cannot be written.
    """
    folder = ratings_folder(study)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{answer.rater}.jsonl"
    tree = asdict(answer) | {"choices": dict(answer.choices), "at": answer.at or utc_now()}
    line = json.dumps(tree, ensure_ascii=False) + "\n"
    with path.open("a+b") as file:
        if file.tell():  # a line that a crash cut short must not swallow this one
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = "\n" + line
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def read_answers(study: StudyPaths, rater: str | None = None) -> Answers:
    """The latest answer of each rater to each pair, oldest first."""
    latest: dict[object, Answer] = {}
    damaged = []
    folder = ratings_folder(study)
    for path in sorted(folder.glob("*.jsonl")) if folder.is_dir() else []:
        if rater is not None and path.stem != rater:
            continue
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                answer = _answer_from(json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                damaged.append(f"{path}:{number}: {error}")
                continue
            latest.pop((answer.rater, answer.pair), None)
            latest[answer.rater, answer.pair] = answer
    return Answers(list(latest.values()), damaged)


def raters(study: StudyPaths) -> list[str]:
    """Who has rated."""
    return [path.stem for path in sorted(ratings_folder(study).glob("*.jsonl"))]


def _answer_from(tree: object) -> Answer:
    if not isinstance(tree, dict):
        raise TypeError(f"expected an answer, got {tree!r}")
    choices = tree["choices"]
    if not isinstance(choices, dict):
        raise TypeError(f"choices: expected a mapping, got {choices!r}")
    return Answer(
        rater=str(tree["rater"]),
        case=str(tree["case"]),
        seed=int(tree["seed"]),
        left=str(tree["left"]),
        right=str(tree["right"]),
        choices=cast(Mapping[str, Choice], choices),
        seconds=float(tree["seconds"]),
        at=str(tree["at"]),
    )
