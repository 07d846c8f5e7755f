"""Who is dead: asked of real processes."""

from __future__ import annotations

import subprocess
import sys
import time

from wanexp.owner import FOREIGN_PATIENCE, is_dead, owner


def test_this_process_lives():
    assert not is_dead(owner(), last_sign=0)


def test_a_child_lives_until_it_is_killed():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = owner(child.pid)
    assert not is_dead(name, last_sign=0)
    child.kill()
    while child.poll() is None:
        time.sleep(0.01)
    assert is_dead(name, last_sign=time.time())


def test_a_killed_child_that_nobody_waited_for_is_dead():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = owner(child.pid)
    child.kill()
    deadline = time.time() + 10
    while not is_dead(name, last_sign=time.time()) and time.time() < deadline:
        time.sleep(0.01)
    assert is_dead(name, last_sign=time.time())
    child.wait()


def test_a_process_number_that_came_round_again_is_another_process():
    host, pid, start = owner().rsplit("-", 2)
    assert is_dead(f"{host}-{pid}-{int(start) - 60}", last_sign=time.time())
    assert not is_dead(f"{host}-{pid}-{int(start) + 1}", last_sign=time.time())


def test_another_machine_is_dead_a_day_after_its_last_sign():
    now = time.time()
    assert not is_dead("elsewhere-1-1", last_sign=now - FOREIGN_PATIENCE + 60)
    assert is_dead("elsewhere-1-1", last_sign=now - FOREIGN_PATIENCE - 60)


def test_a_name_that_is_no_owner_belongs_to_nobody():
    assert is_dead("leftover", last_sign=time.time())
