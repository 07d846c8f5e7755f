"""A guide's claims about chained samplers beside what two studies measured.

``python -m analysis.guide_claims studies/guide_claims studies/guide_sweet_spots --out PAGE.md``
writes the tables between the page's marks and leaves the rest of it, which people wrote.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.claims import (
    Finding,
    Measured,
    equal_cost,
    less,
    measured_study,
    part_of,
    sharp_share,
    sweet_spot,
    times,
    untested,
    wasteful,
)
from analysis.load import StudyTable, load_study
from wanexp.options import protocol_from

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"

SHARP = 0.8
"""A face is called sharp from this much of its detail on; fixed before anything ran."""

SINGLE, TWO, THREE = "single_25", "two_stage", "three_stage"

Test = Callable[[Measured], Finding]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What the guide says, and how it is tried.

    Attributes:
        says: In its own numbers.
        tried: What was compared with what.
    """

    says: str
    tried: str
    test: Test


HEADLINES: tuple[Claim, ...] = (
    Claim(
        says="68 % less frame-to-frame jitter with several stages",
        tried="`jitter`, two stages / one",
        test=lambda study: less(study, TWO, SINGLE, "jitter", 0.68),
    ),
    Claim(
        says="the same",
        tried="`jitter`, three stages / one",
        test=lambda study: less(study, THREE, SINGLE, "jitter", 0.68),
    ),
    Claim(
        says="background 85 % less warped",
        tried="`background_warp`, two stages / one",
        test=lambda study: less(study, TWO, SINGLE, "background_warp", 0.85),
    ),
    Claim(
        says="the same",
        tried="`background_warp`, three stages / one",
        test=lambda study: less(study, THREE, SINGLE, "background_warp", 0.85),
    ),
    Claim(
        says="faces sharp in 92 % instead of 74 %",
        tried=f"videos with `face_detail` ≥ {SHARP:g}, two stages / one",
        test=lambda study: sharp_share(study, TWO, SINGLE, "face_detail", SHARP, 0.18),
    ),
    Claim(
        says="the same",
        tried=f"videos with `face_detail` ≥ {SHARP:g}, three stages / one",
        test=lambda study: sharp_share(study, THREE, SINGLE, "face_detail", SHARP, 0.18),
    ),
    Claim(
        says="quality 7.8, 8.9 and 9.2 out of 10",
        tried="",
        test=lambda _: untested("the scale, the judges and their spread are not given"),
    ),
    Claim(
        says="two stages offer 80 % of the benefit of three",
        tried="`detail`",
        test=lambda study: part_of(study, TWO, THREE, SINGLE, "detail", 0.8),
    ),
    Claim(
        says="two stages take 1.65 times as long (60–70 % longer)",
        tried="seconds of sampling",
        test=lambda study: times(study, TWO, SINGLE, "seconds", (1.6, 1.7)),
    ),
    Claim(
        says="three stages take 2.1 times as long (2 to 2.2)",
        tried="seconds of sampling",
        test=lambda study: times(study, THREE, SINGLE, "seconds", (2.0, 2.2)),
    ),
    Claim(
        says="its own steps, 18 + 25 against 25: 1.72",
        tried="model calls",
        test=lambda study: times(study, TWO, SINGLE, "model_calls", (1.715, 1.725)),
    ),
    Claim(
        says="its own steps, 15 + 22 + 28 against 25: 2.6",
        tried="model calls",
        test=lambda study: times(study, THREE, SINGLE, "model_calls", (2.595, 2.605)),
    ),
    Claim(
        says="VRAM peaks at hand-overs (10.8, 12.3, 13.9 GB for one, two, three stages)",
        tried="",
        test=lambda _: untested(
            "a miniature on a CPU has no VRAM to peak; it takes the large model on a GPU"
        ),
    ),
)

EQUAL_COST: tuple[Claim, ...] = tuple(
    Claim(
        says=f"{stages} beat one stage of the same cost",
        tried=f"`{metric}`, {arm} / {single}",
        test=lambda study, arm=arm, single=single, metric=metric: equal_cost(
            study, arm, single, metric
        ),
    )
    for stages, arm, single in (
        ("two stages", TWO, "single_43"),
        ("three stages", THREE, "single_65"),
    )
    for metric in ("detail", "jitter", "background_warp", "flicker")
)


def _spot(says: str, spot: str, *beside: str) -> Claim:
    return Claim(
        says=says,
        tried=f"`detail`, {', '.join(beside)} / {spot}",
        test=lambda study: sweet_spot(study, spot, beside, "detail"),
    )


SPOTS: tuple[Claim, ...] = (
    _spot("first stage: cfg 8.5 is best for most", TWO, "first_cfg_80", "first_cfg_90"),
    Claim(
        says="first stage: 20 steps and more are wasteful",
        tried="`detail`, first_steps_25 / two_stage (18)",
        test=lambda study: wasteful(study, "first_steps_25", TWO, "detail"),
    ),
    Claim(
        says="the same",
        tried="`flicker`, first_steps_25 / two_stage (18)",
        test=lambda study: wasteful(study, "first_steps_25", TWO, "flicker"),
    ),
    _spot("first stage: 12 steps are rough", TWO, "first_steps_12"),
    _spot(
        "second stage: denoise 0.40–0.45 (0.35 changes little, 0.6 destroys)",
        TWO,
        "second_denoise_35",
        "second_denoise_60",
    ),
    _spot(
        "the same, denoise read as noise: 45 % (not 35 % or 60 %)",
        "noise_45",
        "noise_35",
        "noise_60",
    ),
    _spot("third stage: denoise 0.3 (0.4 degrades)", THREE, "third_denoise_40"),
    _spot("third stage: 28 steps", THREE, "third_steps_20"),
    _spot("third stage: cfg 6.5 (not 7.5)", THREE, "third_cfg_75"),
    _spot("the guide's cfg 8.5 and 7.5 rather than the model's own", TWO, "own_two"),
)

READINGS: tuple[Claim, ...] = (
    Claim(
        says="more detail where 45 % is read as noise",
        tried="`detail`, noise_45 / two_stage",
        test=lambda study: equal_cost(study, "noise_45", TWO, "detail"),
    ),
    *(
        Claim(
            says=f"{promise}, {reading}",
            tried=f"`{metric}`, {arm} / own_single",
            test=lambda study, arm=arm, metric=metric, share=share: less(
                study, arm, "own_single", metric, share
            ),
        )
        for reading, arm in (
            ("at the model's own cfg", "own_two"),
            ("at its own cfg, 45 % read as noise", "own_noise_45"),
        )
        for promise, metric, share in (
            ("68 % less jitter", "jitter", 0.68),
            ("85 % less warping", "background_warp", 0.85),
        )
    ),
    *(
        Claim(
            says=f"more detail from a second stage, {reading}",
            tried=f"`detail`, {arm} / own_single",
            test=lambda study, arm=arm: equal_cost(study, arm, "own_single", "detail"),
        )
        for reading, arm in (
            ("at the model's own cfg", "own_two"),
            ("at its own cfg, 45 % read as noise", "own_noise_45"),
        )
    ),
)


def claims_page(headline: StudyTable, spots: StudyTable | None) -> str:
    """The tables, in Markdown."""
    first = measured_study(headline, protocol_from(headline.study))
    parts = [
        f"### What it promises\n\n{_scope(headline)}\n\n{_table(HEADLINES, first)}",
        f"### Against one stage of the same cost\n\n{_table(EQUAL_COST, first)}",
    ]
    if spots is not None:
        second = measured_study(spots, protocol_from(spots.study))
        parts += [
            f"### Its sweet spots\n\n{_scope(spots)}\n\n{_table(SPOTS, second)}",
            f"### Other readings of its words\n\n{_table(READINGS, second)}",
        ]
    return "\n\n".join(parts)


def findings(claims: Sequence[Claim], study: Measured) -> list[Mapping[str, str]]:
    """A row a claim, as plain values."""
    rows = []
    for claim in claims:
        found = claim.test(study)
        rows.append(
            {
                "the guide says": claim.says,
                "tried by": claim.tried,
                "measured": found.measured,
                "95 % interval": found.interval,
                "verdict": f"**{found.answer}**: {found.why}",
            }
        )
    return rows


def _scope(table: StudyTable) -> str:
    done = table.trials[table.trials["state"] == "completed"]
    cases, seeds = len(set(done["case"])), len(set(done["seed"]))
    seed = "1 seed" if seeds == 1 else f"{seeds} seeds"
    return f"{len(done)} videos: {cases} cases × {seed}, `{table.study.get('name')}`."


def _table(claims: Sequence[Claim], study: Measured) -> str:
    rows = findings(claims, study)
    lines = ["| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|"]
    lines += ["| " + " | ".join(value or "–" for value in row.values()) + " |" for row in rows]
    return "\n".join(lines)


def between_marks(page: str, tables: str) -> str:
    """The page with new tables; a page without marks gets them at its end."""
    if BEGIN not in page or END not in page:
        return f"{page.rstrip()}\n\n{BEGIN}\n\n{tables}\n\n{END}\n".lstrip()
    head, rest = page.split(BEGIN, 1)
    return f"{head}{BEGIN}\n\n{tables}\n\n{END}{rest.split(END, 1)[1]}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the tables, or writes them into a page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("headline", type=Path, help="the folder of the study guide_claims")
    parser.add_argument("spots", type=Path, nargs="?", help="that of guide_sweet_spots")
    parser.add_argument("--out", type=Path, help="a page; without it the tables are printed")
    asked = parser.parse_args(arguments)
    spots = None if asked.spots is None else load_study(asked.spots)
    tables = claims_page(load_study(asked.headline), spots)
    if asked.out is None:
        print(tables)
        return
    page = asked.out.read_text(encoding="utf-8") if asked.out.exists() else ""
    asked.out.write_text(between_marks(page, tables), encoding="utf-8")


if __name__ == "__main__":
    main()
