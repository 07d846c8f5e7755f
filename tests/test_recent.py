import pytest

from wanexp.recent import Recent


def counted(value, made):
    def make():
        made.append(value)
        return value

    return make


def test_a_key_is_made_once():
    recent, made = Recent(2), []
    assert [recent.get("a", counted(7, made)) for _ in range(3)] == [7, 7, 7]
    assert made == [7]


def test_what_was_not_asked_for_the_longest_goes_first():
    recent, made = Recent(2), []
    for key in ("a", "b", "a", "c", "a", "b"):
        recent.get(key, counted(key, made))
    assert made == ["a", "b", "c", "b"]


def test_nothing_is_held_of_what_fails():
    recent = Recent(2)

    def fail():
        raise RuntimeError("no room")

    with pytest.raises(RuntimeError):
        recent.get("a", fail)
    assert recent.get("a", lambda: 3) == 3
