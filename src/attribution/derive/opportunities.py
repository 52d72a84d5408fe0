"""Opportunities as of an instant: closes, stages, amounts and deal types (RULES 1 and 2)."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from attribution.arrays import DECIMAL, day_end
from attribution.derive.currency import minor_units
from attribution.derive.schema import View, local_day
from attribution.derive.stages import (
    OPEN,
    history,
    last_open_spells,
    outcome,
    pushes,
    runs,
    spells,
    stage_names,
)
from attribution.mapping import Filter, Mapping

__all__ = ["holds", "opportunities"]


def opportunities(view: View, currency: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One row per opportunity that exists as of the cut-off, excluded ones marked, ordered by id; its spells.

    Columns: ``id, name, account, owner, created_by, partner_account, created_at, closed_at`` (null = open),
    ``outcome`` (0 open, 1 won, 2 lost), ``closed_on, amount`` (minor units, null = unvalued),
    ``rate_is_current, deal_type, lead_source, last_open_spell_at`` (null with fewer than two),
    ``close_date_pushes`` (null where no history is mirrored), ``approximate, close_before_creation``,
    ``excluded``, and a column per segment and per lookup. The spells are those of
    :func:`attribution.derive.stages.spells`, each with the row of its opportunity.
    """
    mapping, cutoff = view.mapping, view.cutoff
    described = (*mapping.segments, *(lookup.field for lookup in mapping.lookups_of("Opportunity")))
    filtered = (condition.field for condition in mapping.opportunity.exclude)
    found = (
        view.live(
            "Opportunity",
            *("Id", "Name", "AccountId", "OwnerId", "CreatedById", "PartnerAccountId", "CreatedDate"),
            *("IsClosed", "IsWon", mapping.amount_field, "CloseDate", mapping.deal_type.field),
            *("LeadSource", "CurrencyIsoCode", "StageName", *described, *filtered),
        )
        .filter(cutoff.happened("CreatedDate"))
        .with_columns(
            record_outcome=outcome(pl.col("IsClosed"), pl.col("IsWon")),
            excluded=_excluded(mapping.opportunity.exclude),
        )
        .collect()
        .sort("Id")
    )
    found = found.with_columns(deal_type=_deal_types(found[mapping.deal_type.field], mapping))
    found = found.with_row_index("deal")
    names = stage_names(view)
    rows = history(view, found, names)
    visible = rows.filter(cutoff.happened("CreatedDate"))
    last_words = rows.group_by("deal").agg(last_outcome=pl.col("outcome").last())
    found = found.join(_newest_rows(visible), on="deal", how="left").join(last_words, on="deal", how="left")
    found = _state(found, view)
    found = _closes(found, _first_closed(view, found), view)
    spelled = spells(found, rows, visible, names)
    found = found.join(last_open_spells(spelled, found), on="deal", how="left")
    found = found.join(pushes(visible), on="deal", how="left")
    n_pushes = pl.col("close_date_pushes")
    if view.has("OpportunityHistory", "CloseDate"):
        n_pushes = n_pushes.fill_null(0)
    described_deals = (
        minor_units(view, found, currency)
        .select(
            id="Id",
            name=pl.col("Name").fill_null(pl.col("Id")),
            account="AccountId",
            owner="OwnerId",
            created_by="CreatedById",
            partner_account="PartnerAccountId",
            created_at="CreatedDate",
            closed_at="closed_at",
            outcome="outcome",
            closed_on="closed_on",
            amount="minor",
            rate_is_current="rate_is_current",
            deal_type=pl.col("deal_type"),
            lead_source="LeadSource",
            last_open_spell_at="last_open_spell_at",
            close_date_pushes=n_pushes,
            approximate="approximate",
            # both as dates of the org's zone: a deal may close on the day it was created
            close_before_creation=(
                pl.col("closed_on") < local_day(pl.col("CreatedDate"), cutoff.zone)
            ).fill_null(value=False),
            excluded="excluded",
            **{name: pl.col(name) for name in described},
        )
        .sort("id")
    )
    return described_deals, spelled


def _newest_rows(visible: pl.DataFrame) -> pl.DataFrame:
    """Per opportunity: what its newest history row says, and since when it has said won, or lost."""
    run = pl.col("run")
    return (
        visible.with_columns(run=runs("outcome", of="deal"))
        .group_by("deal")
        .agg(
            row_outcome=pl.col("outcome").last(),
            row_amount=pl.col("Amount").last(),
            row_closed_on=pl.col("CloseDate").last(),
            run_started_at=pl.col("CreatedDate").filter(run == run.last()).first(),
        )
    )


def _state(found: pl.DataFrame, view: View) -> pl.DataFrame:
    """Outcome, amount and close date as of the instant: the record's, or at an earlier one history's."""
    field = view.mapping.amount_field
    amount, record, row = pl.col(field), pl.col("record_outcome"), pl.col("row_outcome")
    # history that is missing, or ends open, does not tell of the close that the record states
    untold = pl.col("last_outcome").fill_null(OPEN) == OPEN
    closed_by_record = pl.when(untold).then(record).otherwise(pl.lit(OPEN, pl.Int8))
    seen_closed = row.fill_null(OPEN) != OPEN
    if view.cutoff.current:
        return found.with_columns(
            outcome=pl.when(seen_closed).then(record).otherwise(closed_by_record),
            amount=amount,
            closed_on=pl.col("CloseDate"),
            approximate=pl.lit(value=False),
        )
    has_row = row.is_not_null()
    if field == "Amount" and view.has("OpportunityHistory", "Amount"):
        dated, is_dated = pl.col("row_amount"), has_row
    else:
        found = found.join(_tracked_amounts(view), on="Id", how="left")
        dated, is_dated = pl.col("tracked_amount"), pl.col("is_tracked").fill_null(value=False)
    return found.with_columns(
        outcome=pl.when(seen_closed).then(row).otherwise(closed_by_record),
        amount=pl.when(is_dated).then(dated).otherwise(amount),
        closed_on=pl.coalesce("row_closed_on", "CloseDate"),
        approximate=~(has_row & is_dated),
    )


def _tracked_amounts(view: View) -> pl.DataFrame:
    """Per opportunity: the amount that its field history tells for as_of; without a row, nothing.

    The last change up to as_of says what it became, else the first later one what it had been.
    """
    changes = (
        view.live(
            "OpportunityFieldHistory", "Id", "OpportunityId", "Field", "OldValue", "NewValue", "CreatedDate"
        )
        .filter(pl.col("Field") == view.mapping.amount_field)
        .sort("OpportunityId", "CreatedDate", "Id")
    )
    past = view.cutoff.happened("CreatedDate")
    became, had_been = pl.col("NewValue").filter(past), pl.col("OldValue").filter(~past)
    text = pl.when(past.any()).then(became.last()).otherwise(had_been.first())
    return (
        changes.group_by(Id="OpportunityId")
        .agg(
            tracked_amount=text.str.to_decimal(scale=18).cast(DECIMAL),
            is_tracked=pl.lit(value=True),
        )
        .collect()
    )


def _first_closed(view: View, found: pl.DataFrame) -> pl.DataFrame:
    """Per closed opportunity without a closing history row: when a stored version first shows it closed."""
    asked = found.filter(pl.col("outcome") != OPEN, pl.col("row_outcome").fill_null(OPEN) == OPEN)
    run = pl.col("run")
    return (
        view.versions("Opportunity", "IsClosed", "IsWon", "SystemModstamp", "CreatedDate")
        .join(asked.lazy().select("Id"), on="Id", how="semi")
        .sort("Id", maintain_order=True)
        .with_columns(version_outcome=outcome(pl.col("IsClosed"), pl.col("IsWon")))
        .with_columns(run=runs("version_outcome", of="Id"))
        .group_by("Id")
        .agg(first_closed_at=pl.col("SystemModstamp").filter(run == run.last()).first())
        .collect()
    )


def _closes(found: pl.DataFrame, first_closed: pl.DataFrame, view: View) -> pl.DataFrame:
    """The instant at which each deal was closed (1.5); a deal closed later than as_of is open."""
    closed_by_row = pl.col("row_outcome").fill_null(OPEN) != OPEN
    without_row = pl.min_horizontal(day_end(pl.col("CloseDate"), view.cutoff.zone), pl.col("first_closed_at"))
    closed_at = (
        pl.when(pl.col("outcome") == OPEN)
        .then(None)
        .when(closed_by_row)
        .then(pl.col("run_started_at"))
        .otherwise(without_row)
    )
    seen = view.cutoff.happened("closed_at").fill_null(value=False)
    return (
        found.join(first_closed, on="Id", how="left")
        .with_columns(closed_at=closed_at)
        .with_columns(
            closed_at=pl.when(seen).then(pl.col("closed_at")),
            outcome=pl.when(seen).then(pl.col("outcome")).otherwise(pl.lit(OPEN, pl.Int8)),
        )
    )


def _deal_types(values: pl.Series, mapping: Mapping) -> pl.Series:
    """Deal type of each value of the mapped field (2.2)."""
    text = values.cast(pl.String)
    meant = {value: mapping.deal_type.type_of(value) for value in text.unique().drop_nulls()}
    unclassified = mapping.deal_type.type_of(None)
    return text.replace_strict(meant, default=unclassified, return_dtype=pl.String).fill_null(unclassified)


def _excluded(conditions: Iterable[Filter]) -> pl.Expr:
    """Whether any of the conditions holds; as in SOQL a missing value fulfils only ``!=`` and ``is_null``."""
    return pl.any_horizontal(pl.lit(value=False), *(holds(condition) for condition in conditions))


def holds(condition: Filter) -> pl.Expr:
    """Whether a record meets a condition; the column is named as the field or path is."""
    text = pl.col(condition.field).cast(pl.String)
    lower = text.str.to_lowercase()
    match condition.op:
        case "is_null":
            return text.is_null() if condition.value is not False else text.is_not_null()
        case "in":
            return lower.is_in([str(value).lower() for value in _several(condition)]).fill_null(value=False)
        case "contains":
            return lower.str.contains(str(condition.value).lower(), literal=True).fill_null(value=False)
        case "=":
            return lower.eq_missing(pl.lit(str(condition.value).lower()))
        case "!=":
            return lower.ne_missing(pl.lit(str(condition.value).lower()))


def _several(condition: Filter) -> tuple[str, ...]:
    return condition.value if isinstance(condition.value, tuple) else ()
