"""Evidence that names what is gone: accounts, deals, leads and contacts that were merged or deleted."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from attribution.arrays import fixed_width
from attribution.columns import Dangling, micros, read_only
from attribution.derive.gather import Gathered
from attribution.derive.touchpoints import Scene
from attribution.mapping import Mapping

__all__ = ["dangling", "references"]

_STANDARD = (
    ("Partner", "Partner", "Id", "AccountToId", "OpportunityId"),
    ("Partner", "Partner", "Id", "OpportunityId", None),
    ("Lead", "Lead", "Id", "ConvertedAccountId", "ConvertedOpportunityId"),
    ("Lead", "Lead", "Id", "ConvertedOpportunityId", None),
    ("CampaignMember", "CampaignMember", "Id", "LeadId", None),
    ("CampaignMember", "CampaignMember", "Id", "ContactId", None),
    ("OpportunityContactRole", "OpportunityContactRole", "Id", "OpportunityId", None),
    ("OpportunityContactRole", "OpportunityContactRole", "Id", "ContactId", "OpportunityId"),
    *(
        row
        for name in ("Event", "Task")
        for row in (
            (name, name, "Id", "WhatId", None),
            (name, name, "Id", "WhoId", "WhatId"),
            (name, f"{name}Relation", f"{name}Id", "RelationId", None),
        )
    ),
)
"""Evidence, the object that holds the reference, and its fields: evidence's id, the reference, the deal."""
_NAMES_PARTNER = ("Partner", "AccountToId")
"""The reference that makes its record evidence of a partner, whatever became of the account."""


def references(scene: Scene) -> pl.DataFrame:
    """What names a record that is gone.

    ``object, record, target, survivor, names_partner, opportunity, created_at``; ``survivor`` is null where
    the record was deleted, or what it was merged into is.
    """
    view, gone = scene.view, _gone(scene)
    frames = [
        pl.DataFrame(
            schema={
                **dict.fromkeys(("object", "record", "target", "survivor"), pl.String),
                "names_partner": pl.Boolean,
                "opportunity": pl.String,
                "created_at": pl.Datetime("us", "UTC"),
            }
        )
    ]
    for evidence, holder, record, field, deal, names_partner in _fields(view.mapping):
        if gone.is_empty() or view.records.newest(holder) is None:
            continue
        wanted = dict.fromkeys((record, field, "CreatedDate", *((deal,) if deal else ())))
        frames.append(
            view.live(holder, *wanted)
            .join(gone.lazy(), left_on=field, right_on="id", how="inner", coalesce=False)
            .select(
                object=pl.lit(evidence),
                record=pl.col(record),
                target=pl.col(field),
                survivor="survivor",
                names_partner=pl.lit(names_partner),
                opportunity=pl.col(deal) if deal else pl.lit(None, pl.String),
                created_at="CreatedDate",
            )
            .collect()
        )
    return pl.concat(frames).unique(["object", "record", "target"], maintain_order=True)


def dangling(scene: Scene, gathered: Gathered, found: pl.DataFrame, deals: pl.DataFrame) -> Dangling:
    """Of those references the ones that concern a partner, with the partner and the deal.

    The record is evidence of a partner, or it names a deleted account as the partner, or a deleted contact
    of one.
    """
    asked = found.lazy().with_columns(
        code=pl.col("object").replace_strict(
            {name: code for code, name in enumerate(gathered.objects)}, default=None, return_dtype=pl.Int8
        )
    )
    touches = pl.concat(
        [
            *(
                rows.lazy().select("record", "partner", "occurred_at", "deal", code="object")
                for rows in gathered.rows
            ),
            *(
                rows.lazy().select(
                    "record",
                    "partner",
                    "occurred_at",
                    deal=pl.lit(None, pl.Int32),
                    code=pl.col("object").replace_strict(
                        {name: code for code, name in enumerate(gathered.objects)}, return_dtype=pl.Int8
                    ),
                )
                for rows in gathered.stranded
            ),
        ]
    ).join(asked.select("code", "record").unique(), on=["code", "record"], how="semi")
    joined = asked.join(touches, on=["code", "record"], how="left").collect()
    contacts = scene.view.newest("Contact", "Id", "AccountId").filter("_deleted")
    of_partners = scene.of_partners(
        contacts.select(target="Id", account=scene.accounts.resolve("AccountId"))
    ).select("target", whose="partner")
    place = deals.lazy().select(opportunity="id", place="deal")
    happened = pl.col("created_at").dt.epoch("us") <= scene.view.cutoff.as_of
    rows = (
        joined.lazy()
        .join(of_partners, on="target", how="left")
        .join(place, on="opportunity", how="left")
        .filter(
            pl.col("partner").is_not_null()
            | (
                happened
                & pl.col("survivor").is_null()
                & (pl.col("names_partner") | pl.col("whose").is_not_null())
            )
        )
        .select(
            pl.concat_str("object", "record", separator=":").alias("id"),
            "target",
            pl.col("survivor").fill_null(""),
            pl.col("occurred_at").fill_null(pl.col("created_at")),
            pl.coalesce("partner", "whose").fill_null(-1).alias("partner"),
            pl.coalesce("deal", "place").fill_null(-1).alias("deal"),
        )
        .unique()
        .sort("id", "target", "partner", "deal")
        .collect()
    )
    return read_only(
        Dangling(
            id=fixed_width(rows["id"]),
            target=fixed_width(rows["target"]),
            survivor=fixed_width(rows["survivor"]),
            occurred_at=micros(rows["occurred_at"]),
            partner=rows["partner"].to_numpy().astype(np.int32),
            deal=rows["deal"].to_numpy().astype(np.int64),
        )
    )


def _gone(scene: Scene) -> pl.DataFrame:
    """``id, survivor`` of merged and deleted accounts, contacts, leads and opportunities."""
    gone = pl.concat(
        [
            scene.view.newest(name, "Id").filter("_deleted").select(id="Id")
            for name in ("Account", "Contact", "Lead", "Opportunity")
        ]
    ).collect()
    survivor = pl.col("id").replace_strict(scene.accounts.merged, default=None, return_dtype=pl.String)
    merged = (
        gone.with_columns(survivor=survivor)
        if scene.accounts.merged
        else gone.with_columns(survivor=pl.lit(None, pl.String))
    )
    # who was merged into what is deleted is deleted
    return merged.with_columns(
        survivor=pl.when(~pl.col("survivor").is_in(gone["id"].implode())).then("survivor")
    )


def _fields(mapping: Mapping) -> Iterator[tuple[str, str, str, str, str | None, bool]]:
    """The references that evidence may hold; a path over lookups holds none of its own."""
    for evidence, holder, record, field, deal in _STANDARD:
        yield evidence, holder, record, field, deal, (holder, field) == _NAMES_PARTNER
    for lookup in mapping.lookups:
        if lookup.object != "Campaign" and "." not in lookup.field:
            deal = "Id" if lookup.object == "Opportunity" else "ConvertedOpportunityId"
            yield lookup.object, lookup.object, "Id", lookup.field, deal, True
    for touches in mapping.touchpoints:
        for path in (touches.partner, touches.opportunity, touches.lead, touches.contact, touches.account):
            if path is not None and "." not in path:
                named = touches.opportunity
                yield touches.object, touches.object, "Id", path, named, path == touches.partner
