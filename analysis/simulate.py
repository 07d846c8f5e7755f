"""Shows by simulation that the statistics hold: ``python -m analysis.simulate``.

Draws thousands of studies at once (studies, arms, cases), passes them through the functions that a
real study passes through, and counts false claims, intervals that miss the truth, and what looking
early saves. Prints tables in Markdown and then the same as JSON on one line; writes nothing.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.intervals import ALPHA, LEAST_CASES, Array, Interval, holm, t_interval, t_test
from analysis.power import cases_needed, likely_spread, power
from analysis.sequential import anytime_interval, anytime_p, look_weights

Cell = str | float | int | None
Rows = list[dict[str, Cell]]
Mask = NDArray[np.bool_]

ARMS = 3
"""Arms beside the baseline, all compared with it."""


def normal(rng: np.random.Generator, size: tuple[int, ...]) -> Array:
    """Mean 0, deviation 1, as all shapes."""
    return rng.standard_normal(size)


def heavy(rng: np.random.Generator, size: tuple[int, ...]) -> Array:
    """Student's t with 3 degrees of freedom: now and then a case is quite different."""
    return rng.standard_t(3, size) / math.sqrt(3)


def skewed(rng: np.random.Generator, size: tuple[int, ...]) -> Array:
    """Log-normal of log deviation 0.4 (skewness 1.3)."""
    s2 = 0.4**2
    deviation = math.sqrt(math.expm1(s2) * math.exp(s2))
    return (np.exp(0.4 * rng.standard_normal(size)) - math.exp(s2 / 2)) / deviation


def very_skewed(rng: np.random.Generator, size: tuple[int, ...]) -> Array:
    """Exponential (skewness 2)."""
    return rng.exponential(size=size) - 1


Shape = Callable[[np.random.Generator, tuple[int, ...]], Array]

SHAPES: Mapping[str, Shape] = {
    "normal": normal,
    "heavy tails": heavy,
    "skewed": skewed,
    "very skewed": very_skewed,
}


def draw_effects(
    rng: np.random.Generator,
    *,
    studies: int,
    cases: int,
    seeds: int,
    shape: Shape = normal,
    arms: int = ARMS,
) -> Array:
    """Log ratios against the baseline without any true difference, (studies, arms, cases).

    Every arm, the baseline too, has its own deviation in each case, shared by its seeds (so that
    seeds are correlated by ½ inside a case), and one in each seed. Seeds are averaged.
    """
    size = (studies, arms + 1, cases)
    values = shape(rng, size) + shape(rng, (*size, seeds)).mean(-1)
    return values[:, 1:] - values[:, :1]


def claims(effects: Array, looks: Sequence[int]) -> Mask:
    """Whether each arm is called different at any planned look, (studies, arms)."""
    found = np.zeros(effects.shape[:2], bool)
    for look, weight in zip(looks, look_weights(looks), strict=True):
        if look >= LEAST_CASES:
            found |= holm(np.minimum(t_test(effects[..., :look]) / weight, 1)) <= ALPHA
    return found


def anytime_claims(effects: Array) -> Mask:
    """The same by looking after every case with the rule that allows it."""
    p = anytime_p(effects)[..., LEAST_CASES - 1 :]
    return np.asarray((holm(np.moveaxis(p, -1, 0)) <= ALPHA).any(0))


def careless_claims(effects: Array) -> Mask:
    """What this is against: a plain t test of every arm after every case from the fourth on."""
    found = np.zeros(effects.shape[:2], bool)
    for n in range(LEAST_CASES, effects.shape[-1] + 1):
        found |= t_test(effects[..., :n]) <= ALPHA
    return found


def planned(cases: int) -> tuple[int, ...]:
    """Looks at a half and three quarters of the cases, where these are enough, and at the end."""
    early = {round(cases / 2), round(3 * cases / 4)}
    return (*sorted(look for look in early if LEAST_CASES <= look < cases), cases)


def false_positives(rng: np.random.Generator, studies: int) -> Rows:
    """Studies without any difference in which some arm is called better or worse, in %."""
    settings = [(n, s, "normal") for n in (3, 6, 10, 20) for s in range(1, 6)]
    settings += [(n, 2, shape) for n in (6, 10, 20) for shape in list(SHAPES)[1:]]
    rows: Rows = []
    for cases, seeds, shape in settings:
        effects = draw_effects(rng, studies=studies, cases=cases, seeds=seeds, shape=SHAPES[shape])
        rows.append(
            {
                "effects": shape,
                "cases": cases,
                "seeds": seeds,
                "one arm": _share(claims(effects[:, :1], (cases,))),
                "one look": _share(claims(effects, (cases,))),
                "planned looks": _share(claims(effects, planned(cases))),
                "any time": _share(anytime_claims(effects)),
                "careless": _share(careless_claims(effects)),
            }
        )
    return rows


def bootstrapped(rng: np.random.Generator, effects: Array, draws: int = 500) -> Interval:
    """What the intervals are instead of: percentiles of means over redrawn cases."""
    cases = effects.shape[-1]
    means = effects[:, rng.integers(0, cases, (draws, cases))].mean(-1)
    low, high = np.percentile(means, [100 * ALPHA / 2, 100 - 100 * ALPHA / 2], axis=-1)
    return Interval(effects.mean(-1), low, high)


def coverage(rng: np.random.Generator, studies: int) -> Rows:
    """How often 95 % intervals hold the true mean of the cases' effects, in %."""
    rows: Rows = []
    for cases in (4, 5, 6, 8, 10, 12, 15, 20):
        row: dict[str, Cell] = {"cases": cases}
        for name, shape in SHAPES.items():
            effects = shape(rng, (studies, cases))
            row[name] = _percent(_holds(t_interval(effects)).mean())
        effects = normal(rng, (studies, cases))
        at_looks = [
            _holds(t_interval(effects[:, :look], ALPHA * weight))
            for look, weight in zip(planned(cases), look_weights(planned(cases)), strict=True)
        ]
        row["all planned looks"] = _percent(np.all(at_looks, axis=0).mean())
        after = [_holds(anytime_interval(effects[:, :n])) for n in range(LEAST_CASES, cases + 1)]
        row["any time"] = _percent(np.all(after, axis=0).mean())
        row["bootstrap"] = _percent(_holds(bootstrapped(rng, effects[:2000])).mean())
        rows.append(row)
    return rows


def cases_table() -> Rows:
    """Cases for 80 % power against one arm, by spread and by the change that is to be seen."""
    rows: Rows = []
    for spread in (0.05, 0.1, 0.2, 0.3, 0.5, 0.8):
        row: dict[str, Cell] = {"spread of log ratios": spread}
        for share in (0.05, 0.1, 0.2, 0.3, 0.5):
            effect = -math.log1p(-share)
            row[f"{share:.0%} less"] = cases_needed(effect, spread, lambda _: ALPHA)
        rows.append(row)
    return rows


def power_check(rng: np.random.Generator, studies: int) -> Rows:
    """The formula's power beside what simulated studies reach, in %."""
    rows: Rows = []
    for share, spread in ((0.5, 0.3), (0.3, 0.3), (0.2, 0.3), (0.2, 0.2), (0.1, 0.2)):
        effect = -math.log1p(-share)
        cases = cases_needed(effect, spread, lambda _: ALPHA)
        if cases is None:
            continue
        drawn = spread * normal(rng, (studies, cases)) - effect
        rows.append(
            {
                "change": f"{share:.0%} less",
                "spread": spread,
                "cases": cases,
                "formula": _percent(power(effect, spread, cases)),
                "simulated": _percent(float((t_test(drawn) <= ALPHA).mean())),
            }
        )
    return rows


def saving(rng: np.random.Generator, studies: int) -> Rows:
    """Twelve cases with looks at 6 and 9: cases used on average, and power beside one look, %."""
    rows: Rows = []
    looks = planned(12)
    weights = look_weights(looks)
    for size in (0.0, 0.5, 1.0, 1.5, 2.0):
        effects = normal(rng, (studies, 12)) + size
        at_looks = np.stack(
            [
                t_test(effects[:, :look]) / weight <= ALPHA
                for look, weight in zip(looks, weights, strict=True)
            ]
        )
        ended = np.where(at_looks.any(0), np.array(looks)[at_looks.argmax(0)], 12)
        rows.append(
            {
                "effect / spread": size,
                "cases used": round(float(ended.mean()), 1),
                "found": _percent(float(at_looks.any(0).mean())),
                "found with one look": _percent(float((t_test(effects) <= ALPHA).mean())),
                "found at any time": _percent(
                    float((anytime_p(effects)[:, LEAST_CASES - 1 :] <= ALPHA).any(-1).mean())
                ),
            }
        )
    return rows


def motion_kept(rng: np.random.Generator, studies: int, most_lost: float = 0.1) -> Rows:
    """How often motion is shown to be kept, by what it truly does, in %; one look."""
    rows: Rows = []
    for cases in (6, 12, 20):
        for spread in (0.05, 0.1, 0.2):
            row: dict[str, Cell] = {"cases": cases, "spread of log motion": spread}
            for share in (0.0, 0.05, most_lost, 0.2):
                drawn = spread * normal(rng, (studies, cases)) + math.log1p(-share)
                kept = t_interval(drawn).low > math.log1p(-most_lost)
                row[f"{share:.0%} less" if share else "equal"] = _percent(kept.mean())
            rows.append(row)
    return rows


def followed(rng: np.random.Generator, studies: int) -> Rows:
    """The power of a new study with the number of cases that a small one asked for, in %."""
    rows: Rows = []
    effect, spread = -math.log1p(-0.2), 0.3
    for first in (4, 6, 10):
        drawn = (spread * normal(rng, (studies, first))).std(-1, ddof=1)
        asked = [cases_needed(effect, likely_spread(d, first), lambda _: ALPHA) for d in drawn]
        counts = np.array([n for n in asked if n is not None])
        rows.append(
            {
                "first study's cases": first,
                "asked for, 10th percentile": int(np.percentile(counts, 10)),
                "median": int(np.median(counts)),
                "90th": int(np.percentile(counts, 90)),
                "needed in truth": cases_needed(effect, spread, lambda _: ALPHA),
                "power reached": _percent(np.mean([power(effect, spread, n) for n in counts])),
            }
        )
    return rows


def markdown(rows: Rows) -> str:
    """Rows as a Markdown table; None is a dash."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for row in rows:
        cells = ("–" if row[name] is None else str(row[name]) for name in names)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints all tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--studies", type=int, default=10_000, help="simulated for each number")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    rng = np.random.default_rng(asked.seed)
    tables: dict[str, Rows] = {
        f"False positives, % of {asked.studies:,} studies of {ARMS} arms": false_positives(
            rng, asked.studies
        ),
        "Coverage of 95 % intervals, %": coverage(rng, asked.studies),
        "Cases needed (80 % power, one arm, one look)": cases_table(),
        "Power, %": power_check(rng, asked.studies),
        "Looking early (12 cases; looks at 6, 9, 12)": saving(rng, asked.studies),
        "Motion shown to be kept (10 % may be lost), %": motion_kept(rng, asked.studies),
        "Following n needed (20 % less at spread 0.3)": followed(rng, max(asked.studies // 20, 1)),
    }
    for title, rows in tables.items():
        print(f"{title}\n\n{markdown(rows)}\n")
    print(json.dumps({"studies": asked.studies, "seed": asked.seed, "tables": tables}))


def _holds(interval: Interval) -> Mask:
    return (interval.low <= 0) & (interval.high >= 0)


def _share(claimed: Mask) -> float:
    """Studies with at least one claim, in %."""
    return _percent(float(claimed.any(-1).mean()))


def _percent(share: float | np.floating) -> float:
    return round(100 * float(share), 1)


if __name__ == "__main__":
    main()
