"""One sync: every planned object is read and committed, the stalest first, some at once."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Any, Final

from attribution.errors import StoppedEarly, StoreError
from attribution.mirror.log import ObjectLog
from attribution.mirror.runs import last_run
from attribution.sync.one_object import OneObject
from attribution.sync.planning import Plan
from attribution.sync.report import ObjectReport, Progress, SyncReport, grouped
from attribution.sync.rows import column_types
from attribution.sync.source import Source

__all__ = ["run"]

_NEVER: Final = datetime.min.replace(tzinfo=UTC)
_INTERRUPTED: Final = StoppedEarly("the sync was broken off", hint="run it again to go on")


def run(
    source: Source,
    plan: Plan,
    mirror: Path,
    staging: Path,
    progress: Callable[[Progress], object] | None,
    log: Callable[[Mapping[str, Any]], object] | None,
    ledger: Callable[[Mapping[str, Any]], object],
    parallel: int = 1,
) -> SyncReport:
    """Read every planned object and commit it; one that fails leaves the others alone.

    The stalest comes first, and what failed in the last run after all others.

    Parameters
    ----------
    ledger
        Is given what was done, whether the sync came to its end, reached a limit or was interrupted.
    parallel
        How many objects are read at once, each on a connection of its own. ``progress`` and ``log`` are
        called by one thread at a time.

    Raises
    ------
    StoppedEarly
        If a budget ran out: with the report of what was done, in which the objects left are ``stopped``.
    KeyboardInterrupt
        If it was broken off, as soon as whatever is being committed is.
    """
    run_id, began = uuid.uuid4().hex, time.monotonic()
    # one handle per table, opened before the first read: whoever commits in between makes us stop
    logs = {name: ObjectLog(mirror, name) for name in plan.readable}
    for name, planned in plan.readable.items():
        try:
            logs[name].check_types(column_types(planned.description, planned.fields))
        except StoreError:
            # it may be the description that is wrong
            plan.schema.forget(name)
            raise
    # the stalest first, so that a job which is always stopped after some of them still comes round to each;
    # but what failed the last time, and may fail again, not before the others
    failed = _failed_before(mirror.parent)
    order = sorted(plan.readable, key=lambda name: (name in failed, logs[name].watermark or _NEVER))
    readings = [OneObject(plan, plan.readable[name], logs[name], staging, progress) for name in order]

    def tell(outcome: ObjectReport) -> None:
        if log is not None:
            log({"event": "object", "run": run_id, **outcome.to_log()})

    interrupted: KeyboardInterrupt | None = None
    try:
        reports = _read_all(readings, source, parallel, tell)
    except KeyboardInterrupt as error:
        interrupted = error
        reports = [each.outcome or each.not_begun(_INTERRUPTED) for each in readings]
    stopped = next((each.stopped for each in readings if each.stopped is not None), None)
    rejected = [rejected for each in readings for rejected in each.rejected]
    warnings = [warning for each in readings for warning in each.warnings]
    for name, reason in plan.unavailable.items():
        reports.append(ObjectReport(name, "unavailable", message=reason))
        if ObjectLog(mirror, name).exists:
            warnings.append(f"{reason}; what was read of it before is kept")
        elif name in plan.objects:
            warnings.append(reason)
    report = SyncReport(
        run_id=run_id,
        started_at=plan.started_at,
        finished_at=source.server_time,
        api_calls=source.api_calls - plan.calls_before,
        objects=tuple(reports),
        rejected=tuple(rejected),
        unavailable=tuple(plan.unavailable),
        warnings=grouped(warnings),
    )
    if log is not None:
        log({"event": "run", **report.to_ledger(), "seconds": round(time.monotonic() - began, 3)})
    ledger(report.to_ledger())
    if interrupted is not None:
        raise interrupted
    if stopped is not None:
        stopped.report = report
        raise stopped
    return report


def _failed_before(store: Path) -> set[str]:
    """Objects that the last run tried to read, and could not."""
    objects = (last_run(store) or {}).get("objects", ())
    return {each["object"] for each in objects if each["status"] == "failed"}


def _read_all(
    readings: Sequence[OneObject], source: Source, parallel: int, tell: Callable[[ObjectReport], None]
) -> list[ObjectReport]:
    """Read every object, some at once; the reports in the order of the readings."""
    one_at_a_time = Lock()
    connections: SimpleQueue[Source] = SimpleQueue()
    n_threads = min(parallel, len(readings))
    for _ in range(n_threads):
        connections.put(source.twin() if n_threads > 1 else source)

    limits_reached: list[StoppedEarly] = []

    def read(reading: OneObject) -> ObjectReport:
        if limits_reached:
            return reading.not_begun(limits_reached[0])
        connection = connections.get()
        try:
            outcome = reading.run(connection, one_at_a_time)
        except BaseException:
            source.stop(StoppedEarly("another object could not be committed", hint="run it again to go on"))
            raise
        finally:
            connections.put(connection)
        if reading.stopped is not None:
            limits_reached.append(reading.stopped)
            source.stop(reading.stopped)
        with one_at_a_time:
            tell(outcome)
        return outcome

    if n_threads < 2:
        return [read(reading) for reading in readings]
    with ThreadPoolExecutor(n_threads, "read") as pool:
        begun = [pool.submit(read, reading) for reading in readings]
        try:
            return [each.result() for each in begun]
        except BaseException as error:
            is_interrupted = isinstance(error, KeyboardInterrupt)
            source.stop(
                _INTERRUPTED if is_interrupted else StoppedEarly(f"broken off: {type(error).__name__}")
            )
            # what was done can be told only once nobody does anything
            pool.shutdown(wait=is_interrupted, cancel_futures=True)
            raise
