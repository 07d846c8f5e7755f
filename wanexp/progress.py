"""How a sweep goes, for people: a bar with trial, stage, step and time left; or plain lines."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from wanexp.plan import PlannedStage
from wanexp.record import TrialRecord
from wanexp.study import PlannedTrial


class SweepProgress:
    """A live bar on a terminal; elsewhere one line a trial, which logs keep well.

    The bar counts model calls, since they are what a sweep costs: ``costs`` are those of every
    trial that no trial before it has. The time left comes from the seconds that a model call has
    taken here so far, everything else of a trial included.
    """

    def __init__(
        self, console: Console, waiting: Sequence[PlannedTrial], costs: Sequence[int]
    ) -> None:
        self.console = console
        self.count = len(waiting)
        self.costs = dict(zip((planned.digest for planned in waiting), costs, strict=True))
        self.calls = sum(costs)
        self.before, self.now = 0, 0
        self.begun = time.monotonic()
        self.current: PlannedTrial | None = None
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeLeft(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self.task = self.bar.add_task("starting", total=self.calls)

    def __enter__(self) -> SweepProgress:
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def begins(self, planned: PlannedTrial, number: int) -> None:
        """Names the trial."""
        self.current, self.number, self.trial_begun = planned, number, time.monotonic()
        self.now = 0
        self.bar.update(self.task, description=f"{self._trial()} · loading")

    def evaluated(self, stage: PlannedStage, done: int) -> None:
        """Moves on by one evaluation."""
        if self.current is None:
            return
        self.now += stage.model_calls // len(stage.experts)
        step = min(stage.steps, 1 + (done - 1) * stage.steps // len(stage.experts))
        last = stage.index == len(self.current.plan.stages) - 1 and done == len(stage.experts)
        what = "measuring" if last else f"{stage.name} {step}/{stage.steps}"
        self.bar.update(
            self.task, completed=self.before + self.now, description=f"{self._trial()} · {what}"
        )

    def waits(self, count: int) -> None:
        """One line: the rest is in other hands."""
        trials = "trial" if count == 1 else f"{count} trials"
        self.console.print(f"[dim]waiting for other processes, which run the last {trials}[/dim]")

    def ended(self, planned: PlannedTrial, record: TrialRecord) -> None:
        """One line with what it took."""
        self._over(planned)
        seconds = time.monotonic() - self.trial_begun
        self.console.print(
            f"[green]done[/green]   {self._trial()}  [dim]{_calls(record)}, {seconds:.0f} s[/dim]",
            highlight=False,
        )

    def failed(self, planned: PlannedTrial, error: Exception) -> None:
        """One line with the error; the sweep goes on."""
        self._over(planned)
        self.console.print(
            f"[red]failed[/red] {self._trial()}  {type(error).__name__}: {error}", highlight=False
        )

    def _over(self, planned: PlannedTrial) -> None:
        self.before += self.costs[planned.digest]
        self.bar.update(self.task, completed=self.before)

    def _trial(self) -> str:
        planned = self.current
        if planned is None:
            return ""
        name = f"{planned.arm} · {planned.case} · seed {planned.seed}"
        return f"[dim]{self.number:>{len(str(self.count))}}/{self.count}[/dim] {name}"


def _calls(record: TrialRecord) -> str:
    shared = record.model_calls - record.model_calls_executed
    return f"{record.model_calls} model calls" + (f", {shared} of them shared" if shared else "")


class TimeLeft(ProgressColumn):
    """Time left, from the share that is done."""

    def render(self, task: Task) -> Text:
        """Blank until something was done."""
        if not task.completed or task.total is None or task.elapsed is None:
            return Text("")
        left = task.elapsed * (task.total / task.completed - 1)
        minutes, seconds = divmod(int(left), 60)
        return Text(f"{minutes}:{seconds:02} left", style="dim")
