"""How a sweep goes, for people: a bar with trial, stage, step and time left; or plain lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from wanexp.pace import Pace, cells
from wanexp.plan import PlannedStage
from wanexp.planned import PlannedTrial
from wanexp.record import TrialRecord
from wanexp.troubles import troubles


class SweepProgress:
    """A live bar on a terminal; elsewhere one line a trial, which logs keep well.

    The bar counts model calls, since they are what a sweep costs: ``costs`` are those of every
    trial that no trial before it has. Time left is ``wanexp.pace``'s.
    """

    def __init__(
        self, console: Console, waiting: Sequence[PlannedTrial], costs: Sequence[int]
    ) -> None:
        self.console = console
        self.count = len(waiting)
        self.costs = dict(zip((planned.digest for planned in waiting), costs, strict=True))
        self.sizes = {planned.digest: cells(planned.trial.recipe) for planned in waiting}
        self.calls = sum(costs)
        self.before, self.now = 0, 0
        self.current: PlannedTrial | None = None
        self.numbers: dict[str, int] = {}
        self.pace = Pace()
        self.left_now, self.looked = 0, time.monotonic()
        self.bar = Progress(
            TextColumn("{task.description}"),
            TimeLeft(self.seconds_of_trial, ""),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeLeft(self.seconds_of_all, " in all"),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self.task = self.bar.add_task("starting", total=self.calls)

    def __enter__(self) -> SweepProgress:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def begins(self, planned: PlannedTrial, number: int) -> None:
        """Names the trial."""
        if self.current is not None:
            self.before += self.costs[self.current.digest]
        self.current, self.now = planned, 0
        self.numbers[planned.digest] = number
        self.left_now, self.looked = self.costs[planned.digest], time.monotonic()
        self.bar.update(
            self.task, completed=self.before, description=f"{self._name(planned)} · loading"
        )

    def evaluated(self, stage: PlannedStage, done: int) -> None:
        """Moves on by one evaluation."""
        planned = self.current
        if planned is None:
            return
        each = stage.model_calls // len(stage.experts)
        self.pace.step(stage, self.sizes[planned.digest])
        # What runs once a stage is not stored is all that comes after it, whatever was hoped for.
        later = planned.plan.stages[stage.index + 1 :]
        self.left_now = (len(stage.experts) - done) * each + sum(s.model_calls for s in later)
        self.looked = time.monotonic()
        self.now = min(self.now + each, self.costs[planned.digest])
        step = min(stage.steps, 1 + (done - 1) * stage.steps // len(stage.experts))
        last = stage.index == len(planned.plan.stages) - 1 and done == len(stage.experts)
        what = "decoding, measuring" if last else f"{stage.name} {step}/{stage.steps}"
        self.bar.update(
            self.task,
            completed=self.before + self.now,
            description=f"{self._name(planned)} · {what}",
        )

    def seconds_of_trial(self) -> float | None:
        """What is left of the trial that is sampled."""
        if self.current is None:
            return None
        left = self.pace.seconds(self.left_now, 1, self.sizes[self.current.digest])
        return None if left is None else max(left - (time.monotonic() - self.looked), 0.0)

    def seconds_of_all(self) -> float | None:
        """What is left of all trials."""
        left = self.seconds_of_trial()
        if left is None:
            return None
        for digest, calls in self.costs.items():
            if digest not in self.numbers:
                left += self.pace.seconds(calls, 1, self.sizes[digest]) or 0.0
        return left

    def waits(self, count: int) -> None:
        """One line: the rest is in other hands."""
        trials = "trial" if count == 1 else f"{count} trials"
        self.console.print(f"[dim]waiting for other processes, which run the last {trials}[/dim]")

    def stopping(self) -> None:
        """One line: what runs comes to its next end first."""
        self.console.print(
            "[yellow]stopping[/yellow] once this stage is done; Ctrl-C again stops at once"
        )

    def ended(self, planned: PlannedTrial, record: TrialRecord) -> None:
        """One line with what it took; one more where something was wrong with it."""
        self.pace.trial(record, self.sizes[planned.digest])
        seconds = sum(spent for name, spent in record.timings.items() if name != "wait")
        done = "[green]done[/green]   "
        if record.state == "changed":
            done = "[yellow]changed[/yellow]"
        self.console.print(
            f"{done} {self._name(planned)}  [dim]{_calls(record)}, {seconds:.0f} s[/dim]",
            highlight=False,
        )
        for trouble in troubles(record):
            self.console.print(f"        [yellow]note[/yellow] {trouble}", highlight=False)

    def failed(self, planned: PlannedTrial, error: Exception) -> None:
        """One line with the error; the sweep goes on."""
        self.console.print(
            f"[red]failed[/red]  {self._name(planned)}  {type(error).__name__}: {error}",
            highlight=False,
        )

    def _name(self, planned: PlannedTrial) -> str:
        number = self.numbers.get(planned.digest, 0)
        name = f"{planned.arm} · {planned.case} · seed {planned.seed}"
        return f"[dim]{number:>{len(str(self.count))}}/{self.count}[/dim] {name}"


def _calls(record: TrialRecord) -> str:
    shared = record.model_calls - record.model_calls_executed
    return f"{record.model_calls} model calls" + (
        f", {shared} of them shared" if shared > 0 else ""
    )


class TimeLeft(ProgressColumn):
    """Time left, in minutes and seconds; blank while it is not known."""

    def __init__(self, seconds: Callable[[], float | None], what: str) -> None:
        super().__init__()
        self._seconds, self._what = seconds, what

    def render(self, task: Task) -> Text:  # noqa: ARG002 (rich's own shape)
        """What is left at this moment."""
        left = self._seconds()
        return Text("" if left is None else f"{clock_words(left)} left{self._what}", style="dim")


def clock_words(seconds: float) -> str:
    """``4:05``, or ``1:04:05`` from an hour on."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
