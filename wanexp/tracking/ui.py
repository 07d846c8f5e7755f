"""MLflow's pages: its server as a process of ours, on a free port, ended cleanly."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from wanexp.tracking import ENVIRONMENT, Tracking, TrackingError, artifact_root, store_uri

PORTS = 20
"""How many ports after the one that was asked for are tried."""

START_PATIENCE = 180
"""Seconds that the server may take to answer; half a minute is usual on a slow machine."""

STOP_PATIENCE = 5
"""Seconds between asking the server to end and ending it."""


def ui_command(tracking: Tracking, studies: Path, *, host: str, port: int) -> tuple[str, list[str]]:
    """The address that the store's pages get, and the command that serves them."""
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
    command += ["--backend-store-uri", store_uri(tracking, studies)]
    root = artifact_root(tracking, studies)
    if root:
        command += ["--default-artifact-root", root]
    # Everybody's address is no address to go to.
    shown = f"[{host}]" if ":" in host else host.replace("0.0.0.0", "127.0.0.1")
    return f"http://{shown}:{port}", [*command, "--host", host, "--port", str(port)]


def say_pages(base: str, pages: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Tell where the pages are, a line a study."""
    say(f"MLflow: {base}" + ("" if pages else " (no study is mirrored yet: run `wanexp sync`)"))
    for study, page in pages.items():
        say(f"  {study}: {page}")


def free_port(host: str, wanted: int) -> int:
    """The wanted port, or the next one that nobody listens on.

    Raises:
        TrackingError: All are taken, or the host is not one of this machine.
    """
    problem: OSError | None = None
    for port in range(wanted, min(wanted + PORTS, 65536)):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((host, port))
            except OSError as error:
                problem = error
            else:
                return port
    raise TrackingError(
        f"ports {wanted} to {wanted + PORTS - 1} of {host} cannot be used ({problem})"
    )


def serve(command: Sequence[str], base: str, ready: Callable[[], None]) -> int:
    """Run the server until it ends or Ctrl-C; ``ready`` is called once it answers at ``base``.

    Belongs into the main thread, which signals reach.

    Raises:
        TrackingError: It ended before it answered, or never answered; with its last words.
    """
    with tempfile.TemporaryFile() as words, _ended_like_ctrl_c():
        process = subprocess.Popen(
            command,
            stdout=words,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            # Its own group, so that Ctrl-C reaches us alone and we end all of it.
            start_new_session=True,
            env={**ENVIRONMENT, **os.environ},
        )
        try:
            _wait_until_it_answers(process, base)
            if process.poll() is not None or not _answers(base):
                words.seek(0)
                last = words.read().decode(errors="replace").strip().splitlines()[-1:]
                raise TrackingError(f"MLflow's server did not start: {''.join(last) or 'no word'}")
            ready()
            return process.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            _end(process)


def server_version(base: str) -> str | None:
    """The MLflow version of a server; None where it does not tell."""
    try:
        with urllib.request.urlopen(f"{base.rstrip('/')}/version", timeout=5) as answer:
            return answer.read().decode().strip()
    except (OSError, ValueError):
        return None


def _wait_until_it_answers(process: subprocess.Popen[bytes], base: str) -> None:
    deadline = time.monotonic() + START_PATIENCE
    while process.poll() is None and time.monotonic() < deadline and not _answers(base):
        time.sleep(0.2)


def _answers(base: str) -> bool:
    try:
        with urllib.request.urlopen(f"{base}/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@contextlib.contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """Being ended, or a closed terminal, must not leave the server behind."""
    words = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(word, signal.default_int_handler) for word in words]
    try:
        yield
    finally:
        for word, handler in zip(words, before, strict=True):
            signal.signal(word, handler)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the server and its workers to end, and after a while end them."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_PATIENCE)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
