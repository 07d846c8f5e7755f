"""How weights live on a device: which settings a digest counts, and what is refused."""

from __future__ import annotations

import pytest

from wanexp.memory import BITS, LATER_BITS, Memory
from wanexp.strict import ConfigError


def test_what_changes_bits_are_fields_and_not_all_of_them():
    assert set(LATER_BITS) < set(BITS) < set(vars(Memory()))


def test_settings_that_came_later_leave_digests_alone_until_they_are_set():
    assert set(Memory().bits()) == set(BITS) - set(LATER_BITS)
    assert set(Memory(compile=True).bits()) == set(BITS) - {"weights", "guidance"}


def test_what_only_moves_weights_about_changes_no_bit():
    assert Memory(offload="model", vae_slicing=True, limit_gib=8.0).bits() == Memory().bits()


def test_layers_that_travel_are_not_compiled():
    with pytest.raises(ConfigError, match=r"^memory\.compile: layers that travel"):
        Memory(compile=True, offload="group")


def test_an_unknown_step_of_the_ladder_is_told_the_nearest():
    said = r"^memory\.out_of_memory: no step named 'empty_cash'; did you mean 'empty_cache'\?"
    with pytest.raises(ConfigError, match=said):
        Memory(out_of_memory=("empty_cash",))
