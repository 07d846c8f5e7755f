"""Names looked up in tables."""

import pytest

from wanexp.names import lookup, nearest

TABLE = {"euler": 1, "heun": 2, "dpmpp_2m": 3}


def test_a_known_name_gives_its_entry():
    assert lookup("sampler", TABLE, "heun") == 2


def test_an_unknown_name_is_told_its_kind_the_nearest_and_the_choices():
    with pytest.raises(KeyError) as error:
        lookup("sampler", TABLE, "dpmpp_m2")
    message = error.value.args[0]
    assert message == (
        "no sampler named 'dpmpp_m2'; did you mean 'dpmpp_2m'? (have: dpmpp_2m, euler, heun)"
    )


def test_nothing_is_suggested_when_nothing_is_close():
    assert nearest("lanczos", TABLE) == ""
    with pytest.raises(KeyError, match=r"no sampler named 'lanczos' \(have"):
        lookup("sampler", TABLE, "lanczos")


def test_case_does_not_hide_the_nearest_name():
    assert nearest("EULER", TABLE) == "; did you mean 'euler'?"
    assert nearest("karas", ["Karras"]) == "; did you mean 'Karras'?"


def test_an_empty_table_has_no_nearest_name():
    assert nearest("euler", []) == ""
