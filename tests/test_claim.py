"""One holder at a time, in threads and processes; what the dead held is free."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from wanexp import claim as claim_module
from wanexp.claim import claimed, is_claimed, pause, try_claim
from wanexp.owner import owner


def take(folder: Path, name: str) -> claim_module.Claim:
    claim = try_claim(folder, name)
    assert claim is not None
    return claim


def test_a_claim_is_held_until_its_block_ends(tmp_path):
    folder = tmp_path / "claims"
    assert not is_claimed(folder, "a")
    with take(folder, "a"):
        assert is_claimed(folder, "a")
        assert claimed(folder) == {"a"}
        assert try_claim(folder, "a") is None
        with take(folder, "b"):  # another name is free
            assert claimed(folder) == {"a", "b"}
    assert not is_claimed(folder, "a")
    assert list(folder.iterdir()) == []


def test_a_failure_gives_the_claim_back(tmp_path):
    with pytest.raises(ZeroDivisionError), take(tmp_path, "a"):
        print(1 / 0)
    assert not is_claimed(tmp_path, "a")


def test_a_holder_shows_that_it_lives(tmp_path, monkeypatch):
    monkeypatch.setattr(claim_module, "BEAT", 0.02)
    with take(tmp_path, "a"):
        (path,) = tmp_path.iterdir()
        os.utime(path, (1, 1))
        deadline = time.monotonic() + 10
        while path.stat().st_mtime == 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert time.time() - path.stat().st_mtime < 10


def test_of_two_that_ask_at_the_same_moment_at_most_one_is_given_it(tmp_path, monkeypatch):
    """Each looks before the other has written, and again afterwards."""
    real, first = claim_module.is_claimed, []

    def look(folder: Path, name: str, *, besides: Path | None = None) -> bool:
        if besides is None and not first:
            first.append(True)
            assert not real(folder, name)
            (folder / f"{name}~{owner()}~rival").touch()  # comes between look and claim
            return False
        return real(folder, name, besides=besides)

    monkeypatch.setattr(claim_module, "is_claimed", look)
    assert try_claim(tmp_path, "a") is None
    assert [p.name.split("~")[2] for p in tmp_path.iterdir()] == ["rival"]


def work(folder: Path, log: Path, rounds: int) -> None:
    """Claims again and again, and notes when it holds."""
    for _ in range(rounds):
        while (claim := try_claim(folder, "a")) is None:
            time.sleep(pause() / 20)
        with claim, log.open("a") as file:
            file.write(f"in {os.getpid()} {threading.get_ident()}\n")
            file.flush()
            time.sleep(0.001)
            file.write(f"out {os.getpid()} {threading.get_ident()}\n")


def alternates(log: Path, count: int) -> bool:
    lines = log.read_text().splitlines()
    pairs = zip(lines[::2], lines[1::2], strict=True)
    return len(lines) == 2 * count and all(
        a.startswith("in") and b == f"out{a.removeprefix('in')}" for a, b in pairs
    )


def test_processes_hold_a_claim_one_after_another(tmp_path):
    folder, log = tmp_path / "claims", tmp_path / "log"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=work, args=(folder, log, 25)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert alternates(log, 100)


def test_threads_hold_a_claim_one_after_another(tmp_path):
    folder, log = tmp_path / "claims", tmp_path / "log"
    workers = [threading.Thread(target=work, args=(folder, log, 25)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert alternates(log, 100)


def test_what_a_killed_process_held_is_free(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from wanexp.claim import try_claim\n"
        "with try_claim(Path(sys.argv[1]), 'a'): print('held', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stdout.readline() == "held\n"
    assert try_claim(tmp_path, "a") is None
    child.send_signal(signal.SIGKILL)
    child.wait()
    with take(tmp_path, "a"):
        assert len(list(tmp_path.iterdir())) == 1  # the dead one's is gone


def test_another_machine_is_believed_for_a_while(tmp_path):
    path = tmp_path / "a~elsewhere-1-1~0000"
    path.touch()
    assert try_claim(tmp_path, "a") is None
    long_ago = time.time() - claim_module.SILENCE - 60
    os.utime(path, (long_ago, long_ago))
    with take(tmp_path, "a"):
        assert not path.exists()


def test_a_strange_file_is_nobodys_claim(tmp_path):
    (tmp_path / "a").touch()
    with take(tmp_path, "a"):
        assert claimed(tmp_path) == {"a"}


def test_a_folder_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError):
        try_claim(tmp_path / "file" / "claims", "a")
