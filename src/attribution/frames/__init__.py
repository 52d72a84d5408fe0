"""From tables of deals, touchpoints and stages to a snapshot: :meth:`attribution.deals.Deals.from_frames`."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from attribution.columns import Party, Snapshot, Stranded, read_only, to_micros
from attribution.errors import UsageError
from attribution.frames.deals import DealRows, View
from attribution.frames.stages import Stages
from attribution.frames.touchpoints import Touches
from attribution.periods import FiscalYear

__all__ = ["snapshot_of_frames"]

_NO_MAPPING = "frames"
"""In place of the hash of a mapping: nothing was mapped."""


def snapshot_of_frames(
    deals: object, touchpoints: object, stages: object, *, as_of: datetime, zone: str
) -> Snapshot:
    """Check the tables and arrange them as columns; what they hold is said in ``Deals.from_frames``.

    Raises
    ------
    UsageError
        For columns that are missing, unknown or of another type, naive instants, and unknown zones.
    DataError
        For rows that cannot be.
    """
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(
            f"there is no time zone {zone!r}", hint="names look like 'America/New_York'"
        ) from None
    if not isinstance(as_of, datetime):
        raise UsageError(
            f"as_of is {as_of!r}, and an instant is needed", hint="such as datetime(2026, 6, 30, tzinfo=UTC)"
        )
    view = View(to_micros(as_of, "as_of"), zone)
    rows = DealRows.read(deals, view)
    told = Stages.untold(rows) if stages is None else Stages.read(stages, rows)
    columns, segments, owners = rows.arranged(told.last_open_spell_at)
    given = Touches.read(touchpoints, rows, columns)
    return Snapshot(
        deals=read_only(columns),
        touchpoints=read_only(given.columns(rows)),
        stranded=read_only(_nothing_stranded()),
        direct=read_only(given.direct),
        spells=read_only(told.spells),
        names=rows.names,
        partners=given.partners,
        parents=given.parents,
        programs=tuple(Party(name, name) for name in given.programs),
        tiers=(),
        kinds=given.kinds,
        segments=segments,
        owners=owners,
        stages=told.stages,
        objects=("",),
        roles=given.roles,
        lead_sources=(),
        hosts=(),
        as_of=view.as_of,
        known_at=None,
        currency=rows.currency,
        zone=zone,
        fiscal=FiscalYear(),
        mapping_hash=_NO_MAPPING,
        untold=given.untold if "account_id" in rows.columns else (*given.untold, "account"),
    )


def _nothing_stranded() -> Stranded:
    return Stranded(
        np.empty(0, dtype="S1"),
        np.empty(0, dtype=np.int64),
        np.empty(0, dtype=np.int32),
        np.empty(0, dtype=np.int8),
        np.empty(0, dtype=np.int32),
        np.empty(0, dtype=bool),
    )
