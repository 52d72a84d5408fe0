"""Gather the evidence of every source, bring it to its deals, and lay it out as touchpoint columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from attribution.arrays import codes_of, fixed_width
from attribution.columns import Party, TouchpointColumns, micros, read_only
from attribution.derive.activities import guests, meetings, tasks
from attribution.derive.attach import Places, once
from attribution.derive.mapped import mapped
from attribution.derive.schema import in_order
from attribution.derive.touchpoints import (
    Scene,
    campaign_members,
    conform,
    contact_roles,
    leads,
    lookups,
    opened,
)

__all__ = ["Gathered", "gather", "touchpoint_columns"]

Ints = NDArray[np.int64]


@dataclass(slots=True)
class Gathered:
    """Touchpoints of every source, before they are put in the order of their paths."""

    objects: tuple[str, ...]
    """Objects that hold evidence, so ordered that ids ``object:record:partner`` order like their codes."""
    rows: list[pl.DataFrame] = field(default_factory=list)
    """What every touchpoint has."""
    rest: list[pl.DataFrame] = field(default_factory=list)
    """What few have, by ``row``: the place in ``rows``."""
    stranded: list[pl.DataFrame] = field(default_factory=list)
    partnered: dict[str, pl.Series] = field(default_factory=dict)
    """Ids of the activities that have a partner, by object."""
    n_rows: int = 0

    def add(self, name: str, touchpoints: pl.DataFrame, stranded: pl.DataFrame) -> None:
        """Add what one object holds."""
        code = pl.lit(self.objects.index(name), pl.Int8).alias("object")
        few = ("host", "program", "reach_from", "approval", "expires_at")
        placed = touchpoints.with_row_index("row", self.n_rows)
        self.rest.append(
            placed.filter(pl.any_horizontal(pl.col(few).is_not_null())).select(
                "row", *few, "reach_below", "approved_at", "self_approved"
            )
        )
        columns = ("deal", "occurred_at", "recorded_at", "partner", "kind", "flags", "record", "role")
        self.rows.append(placed.select("row", *columns, code))
        self.stranded.append(
            stranded.select(
                *("record", "partner", "occurred_at", "kind", "reach", "ambiguous"), object=pl.lit(name)
            )
        )
        self.n_rows += len(touchpoints)


def gather(scene: Scene, places: Places, role_rows: pl.DataFrame) -> Gathered:
    """All touchpoints with their deals, and the evidence that reached none."""
    own = mapped(scene)
    standard = ("Partner", "Opportunity", "Lead", "CampaignMember", "OpportunityContactRole", "Event", "Task")
    gathered = Gathered(tuple(sorted({*standard, *own}, key=lambda name: f"{name}:")))
    for name, sources in _sources(scene, role_rows, own):
        happened = (source.filter(scene.view.cutoff.happened("occurred_at")) for source in sources)
        acts = scene.partners.held(pl.concat([places.name(source) for source in happened]))
        if name in ("Event", "Task"):
            gathered.partnered[name] = acts["record"]
        gathered.add(name, *places.attach(once(acts) if len(sources) > 1 else acts))
    return gathered


def _sources(
    scene: Scene, role_rows: pl.DataFrame, own: dict[str, list[pl.LazyFrame]]
) -> Iterator[tuple[str, list[pl.LazyFrame]]]:
    """Every source of evidence, by the object that holds it."""
    yield "Partner", [conform(scene.of_partners(role_rows.lazy())), *own.pop("Partner", [])]
    yield "Opportunity", [opened(scene), lookups(scene), *own.pop("Opportunity", [])]
    yield "Lead", [*leads(scene), *own.pop("Lead", [])]
    yield "CampaignMember", [campaign_members(scene), *own.pop("CampaignMember", [])]
    yield "OpportunityContactRole", [contact_roles(scene), *own.pop("OpportunityContactRole", [])]
    yield "Event", [meetings(scene), *own.pop("Event", [])]
    yield "Task", [tasks(scene), *own.pop("Task", [])]
    yield from own.items()


def touchpoint_columns(
    gathered: Gathered, n_deals: int, scene: Scene, programs: tuple[Party, ...], role_names: tuple[str, ...]
) -> TouchpointColumns:
    """Put the touchpoints in the order (deal, occurred_at, id)."""
    rows = pl.concat(gathered.rows)
    gathered.rows.clear()
    rows = in_order(rows, "deal", "occurred_at", "object", "record", "partner")
    rest = pl.concat(gathered.rest)
    place = np.empty(len(rows), dtype=np.int64)
    place[rows["row"].to_numpy()] = np.arange(len(rows))
    rest = rest.with_columns(row=pl.Series(place[rest["row"].to_numpy()], dtype=pl.Int64)).sort("row")

    own = rest.filter(pl.col("program").is_not_null())
    program, tier = scene.partners.member_of(rows, programs, own)
    reached = rest.filter(pl.col("reach_from").is_not_null())
    judged = rest.filter((pl.col("approval") > 0) | pl.col("expires_at").is_not_null())
    hosted = _hosted(rows, rest, scene, gathered)
    counts = np.bincount(rows["deal"].to_numpy(), minlength=n_deals)
    return read_only(
        TouchpointColumns(
            offsets=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
            occurred_at=micros(rows["occurred_at"]),
            partner=rows["partner"].to_numpy().astype(np.int32),
            program=program,
            kind=rows["kind"].to_numpy().astype(np.int8),
            flags=rows["flags"].to_numpy().astype(np.uint8),
            tier=tier,
            recorded_at=micros(rows["recorded_at"]),
            object=rows["object"].to_numpy().astype(np.int8),
            record=fixed_width(rows["record"]),
            role=codes_of(rows["role"], role_names).astype(np.int16),
            reached=reached["row"].to_numpy().copy(),
            reach_from=reached["reach_from"].to_numpy().copy(),
            reach_below=reached["reach_below"].to_numpy().copy(),
            hosted=hosted["row"].to_numpy().copy(),
            host=hosted["host"].to_numpy().astype(np.int32),
            judged=judged["row"].to_numpy().copy(),
            approval=judged["approval"].fill_null(0).to_numpy().astype(np.int8),
            approved_at=micros(judged["approved_at"]),
            expires_at=micros(judged["expires_at"]),
            approver=(judged["self_approved"].cast(pl.Int8) + 1).fill_null(0).to_numpy().astype(np.int8),
        )
    )


def _hosted(rows: pl.DataFrame, rest: pl.DataFrame, scene: Scene, gathered: Gathered) -> pl.DataFrame:
    """``row, host``: meetings with an internal user, owner or guest; several users, several rows."""
    owners = rest.filter(pl.col("host").is_not_null()).select("row", "host")
    invited = guests(scene)
    if invited.is_empty():
        return owners
    event = gathered.objects.index("Event")
    meetings_of = (
        rows.lazy().select("record", "object", row=pl.int_range(pl.len())).filter(pl.col("object") == event)
    )
    others = meetings_of.join(invited.lazy(), on="record", how="inner").select("row", "host").collect()
    return pl.concat([owners, others]).unique().sort("row", "host")
