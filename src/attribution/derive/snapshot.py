"""Put the derived columns together: records in, one :class:`~attribution.deals.Snapshot` out."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from attribution.deals import (
    DEAL_TYPES,
    KINDS,
    NO_DAY,
    OPEN,
    DealColumns,
    Flag,
    Party,
    Snapshot,
    Stranded,
    TouchpointColumns,
    read_only,
)
from attribution.derive.attach import attach, of_partners, with_program
from attribution.derive.opportunities import opportunities
from attribution.derive.partners import accounts, partner_spans, partners, program_spans, programs
from attribution.derive.schema import Cutoff, Records, columns
from attribution.derive.touchpoints import evidence, people, roles
from attribution.errors import DataError
from attribution.mapping import Mapping
from attribution.periods import FiscalYear

__all__ = ["derive"]


def derive(
    records: Records, mapping: Mapping, *, as_of: int, known_at: int | None = None, watermark: int
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

    Raises
    ------
    DataError
        If the mirror lacks the organization or its time zone.
    """
    organization = columns(
        records.newest("Organization"),
        *("Id", "TimeZoneSidKey", "FiscalYearStartMonth", "UsesStartDateAsFiscalYearName"),
    )
    if not len(organization) or organization["TimeZoneSidKey"][0] is None:
        raise DataError("the mirror holds no organization with a time zone", hint="run `attribution sync`")
    _, zone_name, start_month, named_by_start = organization.row(0)
    zone = mapping.zone(zone_name)
    current = as_of >= (watermark if known_at is None else min(watermark, known_at))
    cutoff = Cutoff(as_of, known_at, current, zone)
    currency = mapping.currency or "XXX"

    known_accounts = accounts(records, cutoff)
    found = opportunities(records, mapping, cutoff, currency).with_columns(
        account=known_accounts.resolve("account")
    )
    role_rows = roles(records, cutoff, known_accounts, found)
    spans = partner_spans(records, mapping, cutoff, known_accounts, role_rows)
    enrolled = program_spans(records, cutoff, known_accounts)
    deals = found.filter(~pl.col("excluded")).with_row_index("deal")
    everybody = people(records, cutoff, known_accounts)
    acts = evidence(records, cutoff, known_accounts, everybody, found, role_rows)
    excluded = found.filter("excluded").select(opportunity="id")
    acts = acts.join(excluded, on="opportunity", how="anti")
    acts = with_program(of_partners(acts, spans), enrolled)
    touchpoints, stranded = attach(acts, deals, known_accounts, cutoff, everybody.internal)

    parties, schemes = partners(known_accounts, spans), programs(records, cutoff, enrolled)
    # ids are object:record:partner; ordering the objects by "name:" makes codes order like those strings
    objects = tuple(sorted({*touchpoints["object"], *stranded["object"]}, key=lambda name: f"{name}:"))
    lead_sources = tuple(deals["lead_source"].drop_nulls().unique().sort())
    return Snapshot(
        deals=_deal_columns(deals, lead_sources),
        touchpoints=_touchpoint_columns(touchpoints, len(deals), parties, schemes, objects),
        stranded=_stranded(stranded, parties),
        names=tuple(deals["name"]),
        partners=parties,
        programs=schemes,
        objects=objects,
        roles=tuple(touchpoints["role"].drop_nulls().unique().sort()),
        lead_sources=lead_sources,
        hosts=tuple(touchpoints["host"].drop_nulls().unique().sort()),
        as_of=as_of,
        known_at=known_at,
        currency=currency,
        zone=zone.key,
        fiscal=FiscalYear(int(start_month or 1), bool(named_by_start)),
        mapping_hash=mapping.hash,
        excluded_deals=int(found["excluded"].sum()),
    )


def _deal_columns(deals: pl.DataFrame, lead_sources: tuple[str, ...]) -> DealColumns:
    kept_accounts = tuple(deals["account"].drop_nulls().unique())
    return read_only(
        DealColumns(
            id=_ids(deals["id"]),
            created_at=_micros(deals["created_at"]),
            closed_at=_micros(deals["closed_at"]),
            outcome=deals["outcome"].to_numpy().astype(np.int8),
            closed_on=deals["closed_on"].to_physical().fill_null(NO_DAY).to_numpy().astype(np.int32),
            amount=deals["amount"].fill_null(0).to_numpy().astype(np.int64),
            valued=deals["amount"].is_not_null().to_numpy(),
            deal_type=_codes(deals["deal_type"], DEAL_TYPES, np.int8),
            account=_codes(deals["account"], kept_accounts, np.int32),
            last_open_spell_at=_micros(deals["last_open_spell_at"]),
            lead_source=_codes(deals["lead_source"], lead_sources, np.int16),
            close_before_creation=deals["close_before_creation"].to_numpy(),
            approximate=deals["approximate"].to_numpy(),
        )
    )


def _touchpoint_columns(
    touchpoints: pl.DataFrame,
    n_deals: int,
    parties: tuple[Party, ...],
    schemes: tuple[Party, ...],
    objects: tuple[str, ...],
) -> TouchpointColumns:
    role_names = tuple(touchpoints["role"].drop_nulls().unique().sort())
    host_names = tuple(touchpoints["host"].drop_nulls().unique().sort())
    rows = touchpoints.with_columns(object=pl.Series(_codes(touchpoints["object"], objects, np.int8))).sort(
        "deal", "occurred_at", "object", "record", "partner"
    )
    counts = np.bincount(rows["deal"].to_numpy(), minlength=n_deals)
    reached = np.flatnonzero(~rows["linked"].to_numpy()).astype(np.int64)
    hosted = np.flatnonzero(rows["host"].is_not_null().to_numpy()).astype(np.int64)
    return read_only(
        TouchpointColumns(
            offsets=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
            occurred_at=_micros(rows["occurred_at"]),
            partner=_codes(rows["partner"], tuple(party.id for party in parties), np.int32),
            program=_codes(rows["program"], tuple(scheme.id for scheme in schemes), np.int16),
            kind=_codes(rows["kind"], KINDS, np.int8),
            flags=_flags(rows),
            recorded_at=_micros(rows["recorded_at"]),
            object=rows["object"].to_numpy().astype(np.int8),
            record=_ids(rows["record"]),
            role=_codes(rows["role"], role_names, np.int16),
            reached=reached,
            reach_from=rows["reach_from"].to_numpy()[reached],
            reach_below=rows["reach_below"].to_numpy()[reached],
            hosted=hosted,
            host=_codes(rows["host"], host_names, np.int32)[hosted],
        )
    )


def _flags(rows: pl.DataFrame) -> NDArray[np.uint8]:
    flags = rows["strength"].to_numpy().astype(np.uint8)
    for name, bit in (
        ("own_account", Flag.OWN_ACCOUNT),
        ("self_deal", Flag.SELF_DEAL),
        ("logged_late", Flag.LOGGED_LATE),
        ("linked", Flag.LINKED),
        ("by_owner", Flag.BY_OWNER),
    ):
        flags |= np.where(rows[name].to_numpy(), np.uint8(bit), np.uint8(0))
    return flags


def _stranded(rows: pl.DataFrame, parties: tuple[Party, ...]) -> Stranded:
    rows = rows.with_columns(id=pl.concat_str("object", "record", "partner", separator=":")).sort(
        "occurred_at", "id"
    )
    return read_only(
        Stranded(
            id=_ids(rows["id"]),
            occurred_at=_micros(rows["occurred_at"]),
            partner=_codes(rows["partner"], tuple(party.id for party in parties), np.int32),
            kind=_codes(rows["kind"], KINDS, np.int8),
            ambiguous=rows["ambiguous"].to_numpy(),
        )
    )


def _micros(instants: pl.Series) -> NDArray[np.int64]:
    return instants.dt.epoch("us").fill_null(OPEN).to_numpy().astype(np.int64)


def _ids(ids: pl.Series) -> NDArray[np.bytes_]:
    return np.array(ids.to_list() or [], dtype=np.bytes_) if len(ids) else np.empty(0, dtype="S18")


def _codes(values: pl.Series, names: tuple[str, ...], dtype: Any) -> NDArray[Any]:
    """Position of each value among the names; -1 for null."""
    if not names:
        return np.full(len(values), -1, dtype=dtype)
    codes = values.replace_strict(list(names), list(range(len(names))), default=-1, return_dtype=pl.Int32)
    return codes.fill_null(-1).to_numpy().astype(dtype)
