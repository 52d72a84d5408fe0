"""Put the derived columns together: records in, one :class:`~attribution.columns.Snapshot` out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import polars as pl

from attribution.arrays import codes_of, fixed_width
from attribution.columns import (
    DEAL_TYPES,
    NO_DAY,
    DealColumns,
    Decision,
    DirectTouches,
    Party,
    Snapshot,
    Stranded,
    from_micros,
    micros,
    read_only,
)
from attribution.derive.activities import direct
from attribution.derive.attach import places
from attribution.derive.costs import costs
from attribution.derive.currency import report_currency
from attribution.derive.dangling import dangling, references
from attribution.derive.gather import gather, touchpoint_columns
from attribution.derive.mapped import kinds, named_accounts
from attribution.derive.opportunities import opportunities
from attribution.derive.partners import Accounts, accounts, partners
from attribution.derive.schema import Cutoff, Records, View, in_order
from attribution.derive.stages import spell_columns, stage_names
from attribution.derive.touchpoints import Scene, converted, deals_of_contacts, people, roles
from attribution.errors import DataError
from attribution.mapping import Mapping
from attribution.periods import FiscalYear

__all__ = ["derive"]


def derive(
    records: Records,
    mapping: Mapping,
    *,
    as_of: int,
    known_at: int | None = None,
    watermark: int,
    decisions: Iterable[Decision] = (),
) -> Snapshot:
    """Work out every deal and touchpoint as of an instant.

    Parameters
    ----------
    records
        The mirror, already cut off at ``known_at``.
    mapping
        How this org stores things.
    as_of, known_at
        Event and knowledge cut-off, microseconds since the epoch, UTC.
    watermark
        Until when the mirror is complete: from there on the records themselves tell the state of a deal,
        before it their history does.
    decisions
        What was decided here about claims by ``known_at``, the oldest first.

    Raises
    ------
    DataError
        If the mirror lacks the organization or its time zone.
    """
    view, fiscal = _view(records, mapping, as_of, known_at, watermark)
    currency = report_currency(view)
    known = accounts(view)
    found, spelled = opportunities(view, currency)
    found = found.with_columns(account=known.existing("account"))
    role_rows = roles(view, known, found)
    scene = Scene(
        view,
        known,
        people(view, known),
        partners(view, known, role_rows, named_accounts(view, known, found)),
        found,
        deals_of_contacts(view, known, found),
    )
    leads = converted(view, known).group_by("opportunity").agg(lead_created_at=pl.col("occurred_at").min())
    deals = (
        found.with_row_index("row")
        .filter(~pl.col("excluded"))
        .with_columns(
            deal=pl.int_range(pl.len(), dtype=pl.Int32),
            account_code=(pl.col("account").rank("dense").cast(pl.Int32) - 1).fill_null(-1),
        )
        .join(leads.collect(), left_on="id", right_on="opportunity", how="left", maintain_order="left")
    )
    gone = references(scene)
    gathered = gather(scene, places(scene, deals), role_rows)
    directly = direct(scene, deals, gathered.partnered)
    lost = dangling(scene, gathered, gone, deals)
    stranded = pl.concat(gathered.stranded)
    roles_seen = pl.concat([rows["role"].drop_nulls().unique() for rows in gathered.rows])
    spells, stages = spell_columns(spelled, stage_names(view), deals)
    role_names, lead_sources = _values(roles_seen), _values(deals["lead_source"])
    programs = _with_mapped(scene.partners.programs, pl.concat([rest["program"] for rest in gathered.rest]))
    segments = tuple((name, _values(deals[name])) for name in mapping.segments)
    owners = _values(deals["owner"])
    return Snapshot(
        deals=_deal_columns(deals, lead_sources, segments, owners),
        touchpoints=touchpoint_columns(gathered, len(deals), scene, programs, role_names),
        stranded=_stranded(stranded, scene.partners.parties, deals),
        direct=_direct(directly, gathered.objects),
        spells=spells,
        names=tuple(deals["name"]),
        partners=scene.partners.parties,
        partner_since=scene.partners.since,
        parents=scene.partners.parents,
        programs=programs,
        tiers=scene.partners.tiers,
        kinds=kinds(mapping),
        segments=segments,
        owners=owners,
        stages=stages,
        objects=gathered.objects,
        roles=role_names,
        lead_sources=lead_sources,
        hosts=tuple(scene.people.internal["user"]),
        as_of=as_of,
        known_at=known_at,
        currency=currency,
        zone=view.cutoff.zone.key,
        fiscal=fiscal,
        mapping_hash=mapping.hash,
        decisions=tuple(_of_survivors(each, known) for each in decisions),
        excluded_deals=int(found["excluded"].sum()),
        dangling=lost,
        costs=costs(scene, currency),
        untold=_untold(view),
    )


def _untold(view: View) -> tuple[str, ...]:
    """Facts of ``Snapshot.untold`` that the org does not show."""
    told = {
        "website": view.has("Account", "Website"),
        "handed_over": any(view.has(name, "PartnerAccountId") for name in ("Opportunity", "Lead")),
    }
    return tuple(fact for fact, is_told in told.items() if not is_told)


def _of_survivors(decision: Decision, known: Accounts) -> Decision:
    """The decision, about the account that a merged partner has become."""
    partner = decision.claim.partner_id
    return replace(decision, claim=replace(decision.claim, partner_id=known.merged.get(partner, partner)))


def _view(
    records: Records, mapping: Mapping, as_of: int, known_at: int | None, watermark: int
) -> tuple[View, FiscalYear]:
    """The mirror in the organization's time zone, and its fiscal year."""
    organization = records.newest("Organization")
    rows = None if organization is None else organization.collect()
    if rows is None or rows.is_empty() or rows["TimeZoneSidKey"][0] is None:
        known = "" if known_at is None else f" known at {from_micros(known_at).isoformat()}"
        raise DataError(
            f"the mirror holds no organization with a time zone{known}",
            hint="run `attribution sync`" if known_at is None else "ask for a known_at after the first sync",
        )
    first = rows.row(0, named=True)
    current = as_of >= (watermark if known_at is None else min(watermark, known_at))
    cutoff = Cutoff(as_of, known_at, current, mapping.zone(first["TimeZoneSidKey"]))
    fiscal = FiscalYear(
        int(first.get("FiscalYearStartMonth") or 1), bool(first.get("UsesStartDateAsFiscalYearName"))
    )
    return View(records, mapping, cutoff), fiscal


def _with_mapped(programs: tuple[Party, ...], named: pl.Series) -> tuple[Party, ...]:
    """Programs of the org, then those that only a mapped field names, by their text."""
    known = {program.id for program in programs}
    return (*programs, *(Party(text, text) for text in _values(named) if text not in known))


def _values(column: pl.Series) -> tuple[str, ...]:
    return tuple(column.cast(pl.String).drop_nulls().unique().sort())


def _deal_columns(
    deals: pl.DataFrame,
    lead_sources: tuple[str, ...],
    segments: Iterable[tuple[str, tuple[str, ...]]],
    owners: tuple[str, ...],
) -> DealColumns:
    return read_only(
        DealColumns(
            id=fixed_width(deals["id"]),
            created_at=micros(deals["created_at"]),
            closed_at=micros(deals["closed_at"]),
            outcome=deals["outcome"].to_numpy().astype(np.int8),
            closed_on=deals["closed_on"].to_physical().fill_null(NO_DAY).to_numpy().astype(np.int32),
            amount=deals["amount"].fill_null(0).to_numpy().astype(np.int64),
            valued=deals["amount"].is_not_null().to_numpy(),
            rate_is_current=deals["rate_is_current"].fill_null(value=False).to_numpy(),
            deal_type=codes_of(deals["deal_type"], DEAL_TYPES).astype(np.int8),
            account=deals["account_code"].to_numpy().astype(np.int32),
            lead_created_at=micros(deals["lead_created_at"]),
            last_open_spell_at=micros(deals["last_open_spell_at"]),
            lead_source=codes_of(deals["lead_source"], lead_sources).astype(np.int16),
            owner=codes_of(deals["owner"], owners),
            close_date_pushes=deals["close_date_pushes"].fill_null(-1).to_numpy().astype(np.int16),
            segments=tuple(codes_of(deals[name].cast(pl.String), values) for name, values in segments),
            close_before_creation=deals["close_before_creation"].to_numpy(),
            approximate=deals["approximate"].to_numpy(),
        )
    )


def _direct(rows: pl.DataFrame, objects: tuple[str, ...]) -> DirectTouches:
    codes = {name: code for code, name in enumerate(objects)}
    code = pl.col("object").replace_strict(codes, return_dtype=pl.Int8)
    rows = rows.with_columns(object=code, group=pl.col("deal") + 1)
    rows = in_order(rows, "group", "occurred_at", "object", "record")
    return read_only(
        DirectTouches(
            deal=rows["deal"].to_numpy().astype(np.int32),
            account=rows["account_code"].to_numpy().astype(np.int32),
            occurred_at=micros(rows["occurred_at"]),
            recorded_at=micros(rows["recorded_at"]),
            kind=rows["kind"].to_numpy().astype(np.int8),
            object=rows["object"].to_numpy().astype(np.int8),
            record=fixed_width(rows["record"]),
        )
    )


def _stranded(rows: pl.DataFrame, parties: tuple[Party, ...], deals: pl.DataFrame) -> Stranded:
    on_account = deals.filter(pl.col("account").is_not_null())
    codes = on_account.select(reach="account", account_code="account_code").unique()
    party = pl.Series([each.id for each in parties], dtype=pl.String).gather(rows["partner"])
    rows = (
        rows.with_columns(id=pl.concat_str("object", "record", party, separator=":"))
        .join(codes, on="reach", how="left")
        .sort("occurred_at", "id")
    )
    return read_only(
        Stranded(
            id=fixed_width(rows["id"]),
            occurred_at=micros(rows["occurred_at"]),
            partner=rows["partner"].to_numpy().astype(np.int32),
            kind=rows["kind"].to_numpy().astype(np.int8),
            account=rows["account_code"].fill_null(-1).to_numpy().astype(np.int32),
            ambiguous=rows["ambiguous"].to_numpy().copy(),
        )
    )
