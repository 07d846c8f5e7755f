import dataclasses
import json
import math

import pandas as pd

from analysis.overview import front_sentences, overview, overview_tree
from tests.analysis.tables import drawn, protocol
from tests.analysis.test_pareto import priced


def study(gains, **how):
    calls = {"base": 50, "good": 80, "waste": 90, "dear": 120}
    return priced(drawn(gains, **how), {arm: calls[arm] for arm in gains})


def test_the_front_is_named_with_prices_and_gains():
    found = overview(study({"base": 0.0, "good": -0.6, "waste": -0.3}, spread=0.1), protocol())
    first, order = front_sentences(found)
    assert first.startswith(
        "Worth their model calls, as no other arm is as good for fewer: base (50), good (80, 4"
    )
    assert "% lower)" in first and "waste" not in first
    assert order.startswith("By flicker good comes first, in 100 % of redrawn sets of cases")
    assert order.endswith("firm.")


def test_an_order_that_redrawing_upsets_is_called_doubtful():
    found = overview(study({"base": 0.0, "good": -0.02}, spread=0.6, draw=2), protocol())
    order = front_sentences(found)[-1]
    assert "but only in" in order and order.endswith("do not rely on the order.")


def test_without_weights_the_primary_metric_alone_makes_the_order():
    found = overview(study({"base": 0.0, "good": -0.6}), protocol())
    assert found.ranking is not None and dict(found.ranking.weights) == {"flicker": 1.0}
    assert not found.comparison.protocol.weights


def test_the_tree_is_json_without_nan():
    tree = overview_tree(overview(study({"base": 0.0, "good": -0.6}, cases=3), protocol()))
    text = json.dumps(tree, allow_nan=False)
    again = json.loads(text)
    assert again["verdicts"][0]["verdict"] == "too few pairs"
    assert again["front"][1]["low"] is None and again["front"][1]["model_calls"] == 80
    assert [row["arm"] for row in again["arms"]] == ["base", "good"]


def test_an_interval_without_a_limit_becomes_none():
    any_time = dataclasses.replace(protocol(), any_time=True)
    found = overview(study({"base": 0.0, "good": -0.6}, cases=4), any_time)
    assert found.comparison.arms[0].primary.low == -math.inf
    json.dumps(overview_tree(found), allow_nan=False)


def test_what_confirms_a_choice_moves_neither_the_front_nor_the_order():
    chosen = study({"base": 0.0, "good": -0.6}, cases=6)
    again = drawn({"base": 0.0, "good": 1.0}, cases=6, first_seed=90)
    rows = [table.trials.assign(confirms=late) for table, late in ((chosen, False), (again, True))]
    both = dataclasses.replace(chosen, trials=pd.concat(rows, ignore_index=True))
    for part in ("front", "ranking"):
        assert getattr(overview(both, protocol()), part) == getattr(
            overview(chosen, protocol()), part
        )


def test_nothing_measured_gives_no_front():
    found = overview(study({"base": 0.0, "good": -0.6}), protocol(primary="warp"))
    assert found.front == () and found.ranking is None and front_sentences(found) == []


def test_an_arm_that_loses_motion_is_never_worth_its_price():
    lost = study({"base": 0.0, "good": -2.0}, spread=0.1, motion={"good": -0.5})
    found = overview(lost, protocol())
    assert found.front[1].share_calls == 0
    assert "good (" not in front_sentences(found)[0]
