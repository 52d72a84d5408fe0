"""Whether what is mirrored suffices for a mapping, and up to when everything is known."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from attribution.errors import DataError, UsageError
from attribution.mapping import Mapping, split_path
from attribution.mirror.logs import Logs
from attribution.readings import readings
from attribution.settings import together
from attribution.sync.descriptions import ObjectSummary
from attribution.sync.planning import described, problems

__all__ = ["check_mapping", "complete_until"]


def complete_until(mapping: Mapping, logs: Logs, unavailable: Collection[str]) -> datetime:
    """The instant up to which everything that the mapping reads is known.

    An object that the organization shows but that was never read would count as empty: there is no such
    instant then. A field history may lack: without one, stored versions tell when a field was set.

    Parameters
    ----------
    unavailable
        Objects that the organization does not show.

    Raises
    ------
    UsageError, DataError
        If the mapping does not suit what is mirrored, or some object was never read completely.
    """
    check_mapping(mapping, logs)
    watermarks = []
    for name, reading in readings(mapping).items():
        watermark = logs.of(name).watermark
        if name in unavailable or (watermark is None and reading.where is not None):
            continue
        if watermark is None:
            raise DataError(f"{name} was never read completely", hint="run `attribution sync`")
        watermarks.append(watermark)
    return min(watermarks)


def check_mapping(mapping: Mapping, logs: Logs) -> None:
    """Refuse a mapping that does not suit what is mirrored; what is mirrored needs no CRM.

    Raises
    ------
    UsageError
        Naming what the mirror lacks, or holds of another kind than the mapping means.
    """
    for named in mapping.named():
        where, path = named.object, named.path
        while True:
            name, rest = split_path(path)
            log = logs.of(where)
            what = f"{where} is" if not log.exists else f"{name} of {where} is"
            if not log.exists or name not in log.coverage.fields:
                raise UsageError(
                    f"{mapping.where(named.place)}: {what} not in the store yet",
                    hint="run `attribution sync`: it reads what is missing, and nothing else",
                )
            target = log.coverage.lookups.get(name)
            if rest is None or target is None:
                break
            where, path = target, rest
    objects = {name: ObjectSummary(name, None, is_queryable=True) for name in logs.names}
    faults = list(problems(mapping, objects, lambda name: described(logs.of(name))))
    if faults:
        raise together(faults)
