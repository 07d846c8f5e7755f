"""``wanexp diagnose``: what went wrong between stages, why, and whether the remedy helps here."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml
from rich.console import Console

from analysis.diagnosis import Diagnosis, Reading, counted, find_again, reading_of
from wanexp.commands import SweepRun
from wanexp.compose import Point, Sweep, compose_tree
from wanexp.config import trial_from
from wanexp.names import nearest
from wanexp.options import options_from, protocol_from
from wanexp.plan import make_plan
from wanexp.record import StudyPaths, TrialRecord, read_record, read_study, studies_in
from wanexp.rounds import Asked
from wanexp.runner import open_study, study_file
from wanexp.strict import ConfigError
from wanexp.study import plan_trials
from wanexp.tracking import tracking_from

DIGEST = re.compile(r"[0-9a-f]{4,16}")

Found = Mapping[tuple[str, str], Sequence[tuple[Reading, Diagnosis]]]
"""(arm, rule) → the trials that it applies to."""


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """One fix, run beside what it is to mend.

    Attributes:
        before, after: How far the sign went in each trial; 0 where it is gone, None where the
            trial failed.
        study: Where both lie, to be compared.
    """

    arm: str
    rule: str
    override: str
    before: tuple[float, ...]
    after: tuple[float | None, ...]
    study: str

    @property
    def helped(self) -> int:
        """Trials in which the sign is at most half as strong, or gone."""
        pairs = zip(self.before, self.after, strict=True)
        return sum(after is not None and after <= before / 2 for before, after in pairs)


def diagnose_command(target: str, overrides: Sequence[str], *, run: bool, as_json: bool) -> int:
    """Prints every sign with cause and fix; with ``run`` the fixes run, and it says what they did.

    ``target`` is a study's name or a trial's digest (its first digits do).
    """
    tree = compose_tree(overrides)
    study, records = find_records(target, tree)
    readings = [reading_of(record) for record in records]
    found = counted(readings)
    console = Console(stderr=as_json, highlight=False)
    if not as_json:
        show_found(console, found, readings)
    remedies = run_fixes(console, study, records, found, tree) if run else []
    for remedy in remedies:
        console.print(remedy_sentence(remedy))
    if as_json:
        print(json.dumps(result_tree(found, readings, remedies)))
    return 0


def find_records(
    target: str, tree: Mapping[str, object]
) -> tuple[StudyPaths, Sequence[TrialRecord]]:
    """A study's records, or the one of a trial; those that still run or are damaged left out.

    Raises:
        ConfigError: Nothing, or more than one trial, is called that.
    """
    folder = options_from(tree).folder
    studies = studies_in(folder)
    if target in studies:
        records = read_study(studies[target]).records
        if not records:
            raise ConfigError(f"{target}: no trial of it has run")
        return studies[target], in_order(studies[target], records)
    paths = [p for s in studies.values() for p in s.found() if p.digest.startswith(target)]
    if not DIGEST.fullmatch(target) or not paths:
        have = ", ".join(studies) or "none"
        raise ConfigError(
            f"no study or trial {target!r} in {folder}{nearest(target, studies)} (studies: {have})"
        )
    if len({path.digest for path in paths}) > 1:
        raise ConfigError(f"{len(paths)} trials begin with {target!r}; give more of the digest")
    found = [(path.study, read_record(path.record)) for path in paths]
    # The same trial may lie in two studies; the one that measured its stages says more.
    study, record = max(found, key=lambda one: sum(map(_is_measured, one[1].stages.values())))
    return study, [record]


def in_order(study: StudyPaths, records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The records as the study's file lists them; what it does not list comes last."""
    rows = study_file(study).get("trials")
    listed = [str(row["digest"]) for row in rows] if isinstance(rows, list) else []
    place = {digest: number for number, digest in reversed(list(enumerate(listed)))}
    return sorted(records, key=lambda record: place.get(record.digest, len(place)))


def _is_measured(stage: Mapping[str, object]) -> bool:
    return bool(stage.get("measurements"))


def show_found(console: Console, found: Found, readings: Sequence[Reading]) -> None:
    """What was found, arm by arm, in a few lines each."""
    unmeasured = sum(len(r.stages) > 1 and len(r.measured) < 2 and not r.error for r in readings)
    said: set[str] = set()
    for (arm, rule), signs in found.items():
        reading, worst = max(signs, key=lambda one: one[1].sign.size)
        of = sum(one.arm == arm for one in readings)
        count = f", in {len(signs)} of {of} videos" if of > 1 else ""
        place = f" [dim]({reading.case}, seed {reading.seed})[/dim]" if of > 1 else ""
        console.print(f"[bold]{arm}: {worst.problem}[/bold]{count}")
        console.print(f"  shown by  {worst.sign.shows}{place}")
        if worst.cause is None:
            console.print("  cause     none that its settings show")
        else:
            console.print(f"  cause     {worst.cause.why}")
            console.print(f"  fix       [bold]{worst.cause.override}[/bold]", markup=True)
        for other in worst.others:
            console.print(f"  [dim]or        {other.override} ({other.why})[/dim]")
        if rule not in said:  # once is enough
            console.print(f"  wan-mini  {worst.evidence}")
            said.add(rule)
    if not found:
        console.print(f"no rule applies to any of {_videos(len(readings))}")
    if unmeasured:
        console.print(
            f"[yellow]note[/yellow] of {_videos(unmeasured)} the stages were not measured, so what"
            " compares stages cannot be seen; measure_stages=true measures them"
        )


def _videos(count: int) -> str:
    return "1 video" if count == 1 else f"{count} videos"


def run_fixes(
    console: Console,
    study: StudyPaths,
    records: Sequence[TrialRecord],
    found: Found,
    tree: Mapping[str, object],
) -> list[Remedy]:
    """Runs every arm's fixes beside it, on the cases and seeds that show the sign.

    Each arm has a study of its own, so that the one that was diagnosed stays as it was.
    """
    by_digest = {record.digest: record for record in records}
    remedies = []
    for arm in dict.fromkeys(arm for arm, _ in found):
        own = {rule: signs for (of, rule), signs in found.items() if of == arm}
        fixes = {
            rule: signs[0][1].cause.override for rule, signs in own.items() if signs[0][1].cause
        }
        trials = {one.digest: by_digest[one.digest] for rule in fixes for one, _ in own[rule]}
        if not fixes:
            continue
        sweep = fixing_sweep(f"{study.name}-{arm}-fixes", arm, list(trials.values()), fixes, tree)
        after = _run(console, sweep)
        for rule, override in fixes.items():
            signs = own[rule]
            remedies.append(
                Remedy(
                    arm=arm,
                    rule=rule,
                    override=override,
                    before=tuple(diagnosis.sign.size for _, diagnosis in signs),
                    after=tuple(_size(rule, after, override, one) for one, _ in signs),
                    study=sweep.name,
                )
            )
    return remedies


def fixing_sweep(
    name: str,
    arm: str,
    records: Sequence[TrialRecord],
    fixes: Mapping[str, str],
    tree: Mapping[str, object],
) -> Sweep:
    """A sweep of an arm as it was and one arm a fix, at the records' cases and seeds.

    Raises:
        ConfigError: A fix that cannot run.
    """
    lines = {arm: "", **{override: override for override in fixes.values()}}
    points = []
    for record in records:
        asked = {key: value for key, value in record.trial.items() if key in ASKED}
        case = asked.get("case")
        for label, line in lines.items():
            own = changed(asked, line)
            make_plan(trial_from(own).recipe)  # refused before anything runs
            points.append(
                Point(
                    arm=label,
                    case=str(case["name"]) if isinstance(case, Mapping) else "case",
                    seed=int(str(asked["seed"])),
                    tree=own,
                    overrides=tuple(line.split()),
                )
            )
    return Sweep(
        name=re.sub(r"[^\w.=-]", "_", name),
        header={"Question": f"does {' or '.join(fixes.values())} mend {arm}?"},
        arms={label: tuple(line.split()) for label, line in lines.items()},
        cases=tuple(dict.fromkeys(point.case for point in points)),
        seeds=tuple(dict.fromkeys(point.seed for point in points)),
        points=tuple(points),
        options={**tree, "measure_stages": True},
    )


ASKED = ("model", "recipe", "case", "memory", "seed")
"""Of a record's trial, what was asked; the rest says which bytes the names stood for."""


def changed(tree: Mapping[str, object], line: str) -> dict[str, object]:
    """A configuration with the overrides of one line: ``a.b=1 ~a.c``."""
    own = copy.deepcopy(dict(tree))
    for text in line.split():
        key, _, value = text.removeprefix("~").partition("=")
        *parents, last = key.split(".")
        node: object = own
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if not isinstance(node, dict) or last not in node:
            raise ConfigError(f"{text}: the trial has no {key}")
        if text.startswith("~"):
            del node[last]
        else:
            node[last] = yaml.safe_load(value)
    return own


def _run(console: Console, sweep: Sweep) -> Mapping[tuple[str, str, int], Reading]:
    """(arm, case, seed) → what came of it."""
    options = options_from(sweep.options)
    options = dataclasses.replace(options, measure_stages=True)
    asked = Asked(
        sweep=sweep,
        options=options,
        protocol=protocol_from(sweep.options),
        trials=plan_trials(sweep),
        confirms=False,
    )
    study = open_study(sweep, asked.trials, options)
    tracking = tracking_from(sweep.options)
    run = SweepRun(console=console, study=study, asked=asked, tracking=tracking)
    try:
        run.rounds(None)
    finally:
        run.close()
    if run.tally.stopped:
        raise KeyboardInterrupt(run.tally.stopped)
    records = {record.digest: record for record in read_study(study).records}
    return {
        (t.arm, t.case, t.seed): reading_of(records[t.digest])
        for t in asked.trials
        if t.digest in records
    }


def _size(
    rule: str,
    after: Mapping[tuple[str, str, int], Reading],
    override: str,
    before: Reading,
) -> float | None:
    reading = after.get((override, before.case, before.seed))
    if reading is None or (reading.error and rule != "out_of_memory"):
        return None
    sign = find_again(rule, reading)
    return 0.0 if sign is None else sign.size


def remedy_sentence(remedy: Remedy) -> str:
    """What a fix did, and where to look."""
    of = len(remedy.before)
    gone = sum(after == 0 for after in remedy.after)
    if of == 1:
        did = "helped: it is gone" if gone else "helped" if remedy.helped else "did not help"
    else:
        did = f"helped in {remedy.helped} of {of} videos, and in {gone} of them it is gone"
    look = f"[dim](wanexp compare {remedy.study})[/dim]"
    return f"{remedy.arm}: [bold]{remedy.override}[/bold] against {remedy.rule} {did} {look}"


def result_tree(
    found: Found, readings: Sequence[Reading], remedies: Sequence[Remedy]
) -> dict[str, object]:
    """What ``--json`` prints."""
    return {
        "videos": len(readings),
        "found": [
            {
                "arm": reading.arm,
                "case": reading.case,
                "seed": reading.seed,
                "digest": reading.digest,
                "rule": one.rule,
                "problem": one.problem,
                "stage": one.sign.stage,
                "shows": one.sign.shows,
                "cause": one.cause.why if one.cause else None,
                "fix": one.cause.override if one.cause else None,
                "evidence": one.evidence,
            }
            for signs in found.values()
            for reading, one in signs
        ],
        "fixes": [{**dataclasses.asdict(r), "helped": r.helped} for r in remedies],
    }
