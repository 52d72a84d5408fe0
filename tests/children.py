"""Child processes that kill themselves at a chosen instant, so that no test has to wait for one."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

__all__ = ["CHILDREN", "copies", "events", "killed_at", "killed_when_a_file_grows"]

_COMMITS: Final = frozenset(
    {
        *("write_to_deltalake", "RawDeltaTable.write", "RawDeltaTable.create_write_transaction"),
        *("RawDeltaTable.compact_optimize", "RawDeltaTable.update", "RawDeltaTable.delete"),
        *("replace", "unlink", "rmdir", "fsync", "PyLazyFrame.sink_parquet"),
    }
)
"""What changes a store; after each of them is a point at which to kill."""
# its server has loaded what takes long, but has no thread of the Delta library: no fork keeps those
CHILDREN: Final = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["attribution.store", "attribution.sync.salesforce"])


def events(work: Callable[..., object], *arguments: object) -> tuple[list[int], int]:
    """Run to the end, and count: which of the calls into C change the store, and how many there are."""
    receiver, sender = CHILDREN.Pipe(duplex=False)
    child = CHILDREN.Process(target=_counted, args=(sender, work, arguments))
    child.start()
    sender.close()
    found: tuple[list[int], int] = receiver.recv()
    child.join()
    assert child.exitcode == 0
    return found


def copies(of: Path, to: Path, work: Callable[..., object], *arguments: object) -> list[Path]:
    """Work on a folder with one thread, and copy it whenever it has changed.

    A process that is killed at such an instant leaves just these files, and what it had not written yet is
    lost with it: a copy proves what a kill does, and costs no process.
    """
    made: list[Path] = []
    seen: set[str] = set()

    def tell(name: str) -> None:
        if name not in _COMMITS:
            return
        content = sha256()
        for file in sorted(of.rglob("*")):
            content.update(f"{file.relative_to(of)}\0".encode())
            if file.is_file():
                content.update(sha256(file.read_bytes()).digest())
        if content.hexdigest() not in seen:
            seen.add(content.hexdigest())
            made.append(to / f"{len(made)} {name}")
            shutil.copytree(of, made[-1])

    _watch(tell)
    try:
        work(*arguments)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    return made


def killed_at(event: int, work: Callable[..., object], *arguments: object) -> bool:
    """Run, and die at this of the calls into C; False if it came to its end before."""
    return _is_killed(signal.SIGKILL, _dying, event, work, arguments)


def killed_when_a_file_grows(size: int, work: Callable[..., object], *arguments: object) -> bool:
    """Run, and die in the middle of writing the first file of more bytes than these; False if none was."""
    return _is_killed(signal.SIGXFSZ, _cramped, size, work, arguments)


def _is_killed(how: signal.Signals, target: Callable[..., None], *arguments: object) -> bool:
    child = CHILDREN.Process(target=target, args=arguments)
    child.start()
    child.join(120)
    if child.exitcode is None:
        child.kill()
    assert child.exitcode in (0, -how)
    return child.exitcode != 0


def _watch(tell: Callable[[str], None]) -> None:
    def profile(frame: object, event: str, function: Any) -> None:
        if event == "c_return":
            tell(function.__qualname__)

    threading.setprofile(profile)
    sys.setprofile(profile)


def _counted(sender: Any, work: Callable[..., object], arguments: tuple[object, ...]) -> None:
    names: list[str] = []
    _watch(names.append)
    work(*arguments)
    sys.setprofile(None)
    sender.send(([number for number, name in enumerate(names) if name in _COMMITS], len(names)))


def _dying(event: int, work: Callable[..., object], arguments: tuple[object, ...]) -> None:
    left = iter(range(event))

    def tell(_: str) -> None:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    _watch(tell)
    work(*arguments)
    sys.setprofile(None)


def _cramped(size: int, work: Callable[..., object], arguments: tuple[object, ...]) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    work(*arguments)
