"""What a search chooses among, as Hydra's users write it."""

import pytest

from wanexp.compose.space import read_axis
from wanexp.compose.tree import hydra_session
from wanexp.strict import ConfigError

KEY = "recipe.stages.refine.steps"


def axis(text):
    with hydra_session():
        return read_axis(KEY, f"{KEY}={text}")


def test_values_in_order_know_their_neighbours():
    found = axis("6,9,12")
    assert found.values == ("6", "9", "12") and found.ordered
    assert found.override("9") == f"{KEY}=9" and found.words() == "6, 9 or 12"
    assert not axis("9,6,12").ordered and not axis("euler,dpmpp_2m").ordered
    assert axis("range(2,8,2)").values == ("2", "4", "6")


def test_a_stretch_is_rounded_to_what_could_be_told_apart():
    found = axis("interval(0.2,0.7)")
    assert (found.low, found.high, found.whole, found.log) == (0.2, 0.7, False, False)
    assert found.override(0.45678) == f"{KEY}=0.457"
    assert found.ends() == (f"{KEY}=0.2", f"{KEY}=0.7") and found.words() == "0.2 to 0.7"


def test_a_stretch_of_whole_numbers_and_one_in_logarithms():
    whole = axis("int(interval(10,25))")
    assert whole.whole and whole.override(1234.0) == f"{KEY}=1234"
    assert axis("tag(log,interval(1,8))").log


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("interval(0.7,0.2)", "low < high"),
        ("tag(lg,interval(1,2))", "the only tag of a search is log, got lg"),
        ("tag(log,interval(0,2))", "a logarithm needs numbers above 0, got 0"),
        ("range(3,3)", "no value at all"),
    ],
)
def test_a_stretch_that_means_nothing_is_refused(text, words):
    with pytest.raises(ConfigError) as error:
        axis(text)
    assert words in str(error.value)
