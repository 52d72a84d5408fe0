"""How tests of overlays read their rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import attribution as at

START = datetime(2026, 1, 1, tzinfo=UTC)
NO_TOUCHES = {"deal_id": [], "occurred_at": [], "partner": []}


def day(number: float) -> datetime:
    return START + timedelta(days=number)


def of(overlay: at.Overlay, metric: str, variant: str, **labels: object) -> dict[str, object]:
    """The one row of a figure."""
    found = [
        row
        for row in overlay.rows
        if (row["metric"], row["variant"]) == (metric, variant) and labels.items() <= row.items()
    ]
    assert len(found) == 1, found
    return found[0]
