"""What the page says first of a study, held to studies whose effects are drawn."""

import pytest

from analysis.overview import overview
from tests.analysis.tables import drawn, protocol
from wanexp.report.verdict import verdict_tree


@pytest.mark.parametrize(
    ("gain", "headline", "note"),
    [
        (-0.05, "A is a little better than base: flicker is 5.7 %", "flicker decides; less"),
        (-0.6, "A is better than base: flicker is 4", "flicker decides"),
    ],
)
def test_a_gain_that_is_sure_but_small_is_called_little(gain, headline, note):
    study = drawn({"base": 0.0, "A": gain}, spread=0.02)
    tree = verdict_tree(study, overview(study, protocol()), None)
    assert isinstance(tree, dict)
    assert tree["headline"].startswith(headline)
    amount = tree["facts"][1]["note"]
    assert amount.startswith(note) and ("less than what matters" in amount) == (gain > -0.1)
