"""The store on disk: what comes back, what is refused, what goes first, what is made once."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

from wanexp import cache as cache_module
from wanexp.cache import (
    Entry,
    EntryError,
    Store,
    by_model,
    clear,
    entry_bytes,
    held,
    read_entry,
    store_tree,
)
from wanexp.claim import Claim
from wanexp.owner import owner

MANY = 10**9
VALUES = np.random.default_rng(0).normal(size=(1, 4, 3, 6, 8)).astype(np.float32)


def pack(values: np.ndarray) -> Entry:
    return Entry(arrays={"values": values}, facts={"model": "wan_mini", "kind": "test"})


def unpack(entry: Entry) -> np.ndarray:
    return entry.arrays["values"]


class Maker:
    """Makes values and counts how often."""

    def __init__(self, values: np.ndarray = VALUES) -> None:
        self.values = values
        self.made = 0

    def __call__(self) -> np.ndarray:
        self.made += 1
        return self.values


def get(store: Store, key: str, make: Callable[[], np.ndarray]) -> tuple[np.ndarray, bool]:
    return store.fetch(key, make, pack, unpack)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", MANY)


def entry_of(store: Store, key: str) -> Path:
    return store.folder / "entries" / f"{key}.safetensors"


def test_what_was_made_comes_back_to_the_bit(store):
    maker = Maker()
    first, was_there = get(store, "ab", maker)
    second, is_there = get(Store(store.folder, MANY), "ab", maker)
    assert (was_there, is_there, maker.made) == (False, True, 1)
    assert first is VALUES
    assert second.dtype == np.float32
    assert second.tobytes() == VALUES.tobytes()
    assert [path.name for path in store.folder.rglob("*") if path.is_file()] == ["ab.safetensors"]


def test_facts_come_back_with_their_key(store):
    get(store, "ab", Maker())
    assert read_entry(entry_of(store, "ab")).facts == {
        "model": "wan_mini",
        "kind": "test",
        "key": "ab",
    }


def test_a_failure_is_passed_on_and_leaves_nothing(store):
    def fails() -> np.ndarray:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        get(store, "ab", fails)
    assert not [path for path in store.folder.rglob("*") if path.is_file()]
    assert get(store, "ab", Maker())[1] is False


# Damage


def test_every_flipped_bit_and_every_cut_is_found(tmp_path):
    data = entry_bytes("ab", pack(VALUES[:, :1, :1, :2, :2]))
    path = tmp_path / "ab.safetensors"
    path.write_bytes(data)
    assert read_entry(path).arrays["values"].shape == (1, 1, 1, 2, 2)
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x04]) + data[place + 1 :])
        with pytest.raises((ValueError, KeyError, TypeError)):
            read_entry(path)
        path.write_bytes(data[:place])
        with pytest.raises(EntryError):
            read_entry(path)


def test_an_entry_under_another_name_is_refused(tmp_path):
    (tmp_path / "cd.safetensors").write_bytes(entry_bytes("ab", pack(VALUES)))
    with pytest.raises(EntryError, match="another's, of ab"):
        read_entry(tmp_path / "cd.safetensors")


def test_an_entry_that_holds_something_else_is_made_again_with_one_warning(store, caplog):
    get(store, "ab", Maker())

    def other(entry: Entry) -> np.ndarray:
        return entry.arrays["latent"]

    def pack_other(values: np.ndarray) -> Entry:
        return Entry(arrays={"latent": values}, facts={"model": "m"})

    for expected in (False, True):
        assert store.fetch("ab", Maker(), pack_other, other)[1] is expected
    assert len(caplog.records) == 1
    assert "ab.safetensors" in caplog.text


# Limits and disks


def test_what_was_not_used_for_the_longest_time_goes_first(tmp_path):
    size = len(entry_bytes("a0", pack(VALUES)))
    store = Store(tmp_path / "store", 3 * size)
    for hour, key in enumerate(["a0", "a1", "a2"]):
        get(store, key, Maker())
        os.utime(entry_of(store, key), (hour * 3600, hour * 3600))
    assert get(store, "a0", Maker())[1]  # used now, so a1 is the oldest
    get(store, "a3", Maker())
    assert {entry.path.name[:2] for entry in held(store.folder)} == {"a0", "a2", "a3"}
    assert sum(entry.bytes for entry in held(store.folder)) <= 3 * size


def test_a_limit_below_one_entry_keeps_none_and_fails_nobody(tmp_path):
    store = Store(tmp_path / "store", 10)
    assert get(store, "ab", Maker())[0] is VALUES
    assert held(store.folder) == []


def test_a_folder_that_cannot_be_made_is_said_once_and_done_without(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    store, maker = Store(tmp_path / "file" / "store", MANY), Maker()
    for key in ("ab", "ab", "cd"):
        assert get(store, key, maker) == (VALUES, False) or maker.made
    assert maker.made == 3
    assert [r.getMessage().count("goes on without it") for r in caplog.records] == [1, 1]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB; needs root, as mounting does."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_full_disk_keeps_what_it_has_and_costs_a_warning(small_disk, caplog):
    store, big = Store(small_disk / "store", MANY), Maker(np.zeros(100_000, np.float32))
    get(store, "ab", Maker())
    values, was_there = get(store, "cd", big)
    assert values is big.values and not was_there
    assert "goes on without it" in caplog.text
    assert [entry.path.name for entry in held(store.folder)] == ["ab.safetensors"]
    assert not list(store.folder.rglob(".partial*"))
    assert get(store, "ab", Maker())[1]


def test_what_killed_processes_left_goes_and_the_livings_stays(tmp_path):
    folder = tmp_path / "store" / "entries"
    folder.mkdir(parents=True)
    dead = owner().rsplit("-", 1)[0] + "-1"
    for name in (f".partial-ab~{dead}~00", f".partial-cd~{owner()}~00", ".partial-strange"):
        (folder / name).write_bytes(b"half")
    claims = tmp_path / "store" / "claims"
    claims.mkdir()
    for name in (f"ab~{dead}~00", f"cd~{owner()}~00"):
        (claims / name).touch()
    Store(tmp_path / "store", MANY)
    assert [path.name[:11] for path in folder.iterdir()] == [".partial-cd"]
    assert [path.name[:2] for path in claims.iterdir()] == ["cd"]


# Several processes


def make_slowly(folder: Path, key: str, log: Path, seconds: float) -> None:
    """One process of several that want an entry; whoever makes it leaves a line."""

    def make() -> np.ndarray:
        with log.open("a") as file:
            file.write("made\n")
        time.sleep(seconds)
        return VALUES

    values, _ = get(Store(folder, MANY), key, make)
    assert values.tobytes() == VALUES.tobytes()


def start(*arguments: object) -> BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=make_slowly, args=arguments)
    process.start()
    return process


def test_of_several_processes_that_want_an_entry_one_makes_it(tmp_path):
    log = tmp_path / "log"
    for round_number in range(5):
        key = f"a{round_number}"
        workers = [start(tmp_path / "store", key, log, 0.1) for _ in range(4)]
        for worker in workers:
            worker.join(60)
            assert worker.exitcode == 0
    assert log.read_text() == "made\n" * 5


def test_what_was_made_between_the_look_and_the_claim_is_taken(store, monkeypatch):
    real = cache_module.try_claim

    def late(folder: Path, name: str) -> Claim | None:
        entry_of(store, name).parent.mkdir(parents=True)
        entry_of(store, name).write_bytes(entry_bytes(name, pack(VALUES)))
        return real(folder, name)

    monkeypatch.setattr(cache_module, "try_claim", late)
    maker = Maker()
    assert get(store, "ab", maker)[1] is True
    assert maker.made == 0


def test_who_waits_takes_over_from_one_that_was_killed(tmp_path):
    log = tmp_path / "log"
    first = start(tmp_path / "store", "ab", log, 600)
    while not log.exists():
        time.sleep(0.01)
    second = start(tmp_path / "store", "ab", log, 0)
    time.sleep(0.5)
    assert second.is_alive()
    first.kill()
    second.join(30)
    assert second.exitcode == 0
    assert log.read_text() == "made\n" * 2


def test_who_waits_says_so_once_and_takes_what_was_made_meanwhile(store, caplog, monkeypatch):
    monkeypatch.setattr(cache_module, "PATIENCE", 0.0)
    claims = store.folder / "claims"
    claims.mkdir(parents=True)
    (claims / f"ab~{owner()}~rival").touch()
    pauses: list[int] = []

    def the_rival_works() -> float:
        pauses.append(len(pauses))
        if len(pauses) == 3:
            entry_of(store, "ab").parent.mkdir()
            entry_of(store, "ab").write_bytes(entry_bytes("ab", pack(VALUES)))
        return 0.0

    monkeypatch.setattr(cache_module, "pause", the_rival_works)
    maker = Maker()
    assert get(store, "ab", maker)[1] is True
    assert (maker.made, len(pauses)) == (0, 3)
    assert caplog.messages == [f"waiting for another process to compute {entry_of(store, 'ab')}"]


# What the verb shows


def test_a_list_says_what_is_there_by_model_and_survives_strangers(store):
    assert held(store.folder) == []
    get(store, "ab", Maker())
    store.fetch("cd", Maker(), lambda v: Entry(arrays={"v": v}, facts={"model": "big"}), unpack)
    (store.folder / "entries" / "note.txt").write_text("not ours")
    (store.folder / "entries" / "ef.safetensors").write_bytes(b"\x10")
    for hour, key in enumerate(["cd", "ab", "ef"]):
        os.utime(entry_of(store, key), (hour * 3600, hour * 3600))
    entries = held(store.folder)
    assert [entry.model for entry in entries] == ["big", "wan_mini", "damaged"]
    assert {model: len(own) for model, own in by_model(entries).items()} == {
        "big": 1,
        "damaged": 1,
        "wan_mini": 1,
    }
    tree = store_tree(store.folder, MANY, entries, [])
    assert tree["entries"] == 3
    assert tree["bytes"] == sum(entry.path.stat().st_size for entry in entries)
    assert tree["oldest"] == "1970-01-01T00:00:00+00:00"


def test_clearing_removes_entries_and_nothing_else(store):
    get(store, "ab", Maker())
    note = store.folder / "entries" / "note.txt"
    note.write_text("not ours")
    assert [entry.path.name for entry in clear(store.folder)] == ["ab.safetensors"]
    assert held(store.folder) == []
    assert note.exists()
    assert clear(store.folder / "nowhere") == []
