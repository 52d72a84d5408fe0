"""Opportunities as of an instant: closes, stages, amounts and deal types (RULES 1 and 2)."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from attribution import money
from attribution.derive.schema import Cutoff, Records, columns, day_end, local_day
from attribution.mapping import Filter, Mapping

__all__ = ["opportunities"]

_OPEN, _WON, _LOST = 0, 1, 2


def opportunities(records: Records, mapping: Mapping, cutoff: Cutoff, currency: str) -> pl.DataFrame:
    """One row per opportunity that exists as of the cut-off, excluded ones marked, ordered by id.

    Columns: ``id, name, account, owner, created_by, partner_account, created_at, closed_at`` (null = open),
    ``outcome`` (0 open, 1 won, 2 lost), ``closed_on, amount`` (minor units, null = unvalued), ``deal_type,
    lead_source, last_open_spell_at`` (null with fewer than two), ``approximate, close_before_creation,
    excluded``.
    """
    found = (
        columns(
            records.newest("Opportunity"),
            *("Id", "Name", "AccountId", "OwnerId", "CreatedById", "PartnerAccountId", "CreatedDate"),
            *("IsClosed", "IsWon", mapping.amount_field, "CloseDate", mapping.deal_type.field),
            *("LeadSource", "CurrencyIsoCode", "_deleted"),
            mapping=mapping,
            excluded=_excluded(mapping.opportunity.exclude),
        )
        .with_columns(record_outcome=_outcome(pl.col("IsClosed"), pl.col("IsWon")))
        .filter(~pl.col("_deleted"), cutoff.happened("CreatedDate"), cutoff.known())
    )
    history = _history(records, cutoff, found)
    visible = history.filter(cutoff.happened("CreatedDate"))
    last_words = history.group_by("OpportunityId").agg(last_outcome=pl.col("outcome").last())
    found = found.join(_newest_rows(visible), on="Id", how="left").join(
        last_words, left_on="Id", right_on="OpportunityId", how="left"
    )
    found = _state(
        found, mapping, cutoff, dated_amounts=_has_amounts(records) and mapping.amount_field == "Amount"
    )
    found = _closes(found, _first_closed(records, found), cutoff)
    found = found.join(_last_open_spells(visible, found), on="Id", how="left")
    return found.select(
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
        amount=_minor_units(currency),
        deal_type=_deal_type(mapping),
        lead_source="LeadSource",
        last_open_spell_at="last_open_spell_at",
        approximate="approximate",
        # both as dates of the org's zone: a deal may close on the day it was created
        close_before_creation=(pl.col("closed_on") < local_day(pl.col("CreatedDate"), cutoff.zone)).fill_null(
            value=False
        ),
        excluded="excluded",
    ).sort("id")


def _history(records: Records, cutoff: Cutoff, found: pl.DataFrame) -> pl.DataFrame:
    """History rows of these opportunities, oldest first, with the outcome that their stage means (1.6)."""
    unknown = (
        pl.when(pl.col("ForecastCategory") == "Closed")
        .then(_WON)
        .when((pl.col("Probability") == 0) & (pl.col("ForecastCategory") == "Omitted"))
        .then(_LOST)
        .otherwise(_OPEN)
    )
    return (
        columns(
            records.newest("OpportunityHistory"),
            *("Id", "OpportunityId", "StageName", "Amount", "CloseDate", "Probability", "ForecastCategory"),
            *("CreatedDate", "SystemModstamp", "_deleted"),
        )
        .filter(~pl.col("_deleted"), cutoff.known())
        .join(found.select("Id"), left_on="OpportunityId", right_on="Id", how="semi")
        .join(_stages(records), left_on="StageName", right_on="stage", how="left")
        .with_columns(
            outcome=pl.coalesce("stage_outcome", unknown).cast(pl.Int8),
            # a row may spell its stage by API name or by label
            stage=pl.coalesce("stage_id", "StageName"),
        )
        .sort("OpportunityId", "CreatedDate", "SystemModstamp", "Id")
    )


def _stages(records: Records) -> pl.DataFrame:
    """Outcome by the name of a stage: by API name before label, active stages before others."""
    stages = columns(
        records.newest("OpportunityStage"),
        *("Id", "ApiName", "MasterLabel", "IsActive", "IsClosed", "IsWon", "_deleted"),
    ).filter(~pl.col("_deleted"))
    named = [
        stages.select(
            stage=name,
            stage_id="Id",
            stage_outcome=_outcome(pl.col("IsClosed"), pl.col("IsWon")),
            rank=pl.lit(rank),
            inactive=~pl.col("IsActive").fill_null(value=False),
        )
        for rank, name in enumerate(("ApiName", "MasterLabel"))
    ]
    ranked = pl.concat(named).drop_nulls("stage").sort("rank", "inactive", "stage_id")
    return ranked.unique("stage", keep="first", maintain_order=True).select(
        "stage", "stage_id", "stage_outcome"
    )


def _outcome(closed: pl.Expr, won: pl.Expr) -> pl.Expr:
    return pl.when(closed & won).then(_WON).when(closed).then(_LOST).otherwise(_OPEN).cast(pl.Int8)


def _runs(what: str, of: str) -> pl.Expr:
    """Number of the unbroken run of equal values that each row, in order, belongs to."""
    return (
        ((pl.col(of) != pl.col(of).shift(1)) | pl.col(what).ne_missing(pl.col(what).shift(1)))
        .fill_null(value=True)
        .cum_sum()
    )


def _newest_rows(visible: pl.DataFrame) -> pl.DataFrame:
    """Per opportunity: what its newest history row says, and since when it has said won, or lost."""
    run = pl.col("run")
    return (
        visible.with_columns(run=_runs("outcome", of="OpportunityId"))
        .group_by("OpportunityId")
        .agg(
            row_outcome=pl.col("outcome").last(),
            row_amount=pl.col("Amount").last(),
            row_closed_on=pl.col("CloseDate").last(),
            run_started_at=pl.col("CreatedDate").filter(run == run.last()).first(),
        )
        .rename({"OpportunityId": "Id"})
    )


def _has_amounts(records: Records) -> bool:
    """Whether history tells amounts; they may be hidden from the connected user."""
    history = records.newest("OpportunityHistory")
    return history is not None and "Amount" in history.collect_schema().names()


def _state(found: pl.DataFrame, mapping: Mapping, cutoff: Cutoff, *, dated_amounts: bool) -> pl.DataFrame:
    """Outcome, amount and close date as of the instant: the record's, or at an earlier one history's."""
    amount, record, row = pl.col(mapping.amount_field), pl.col("record_outcome"), pl.col("row_outcome")
    # history that is missing, or ends open, does not tell of the close that the record states
    untold = pl.col("last_outcome").fill_null(_OPEN) == _OPEN
    closed_by_record = pl.when(untold).then(record).otherwise(pl.lit(_OPEN, pl.Int8))
    seen_closed = row.fill_null(_OPEN) != _OPEN
    if cutoff.current:
        return found.with_columns(
            outcome=pl.when(seen_closed).then(record).otherwise(closed_by_record),
            amount=amount,
            closed_on=pl.col("CloseDate"),
            approximate=pl.lit(value=False),
        )
    has_row = row.is_not_null()
    return found.with_columns(
        outcome=pl.when(seen_closed).then(row).otherwise(closed_by_record),
        amount=pl.when(has_row).then(pl.col("row_amount")).otherwise(amount) if dated_amounts else amount,
        closed_on=pl.coalesce("row_closed_on", "CloseDate"),
        approximate=has_row.not_() | pl.lit(value=not dated_amounts),
    )


def _first_closed(records: Records, found: pl.DataFrame) -> pl.DataFrame:
    """Per closed opportunity without a closing history row: when a stored version first shows it closed."""
    asked = found.filter(pl.col("outcome") != _OPEN, pl.col("row_outcome").fill_null(_OPEN) == _OPEN)
    versions = (
        columns(
            records.versions("Opportunity") if len(asked) else None,
            *("Id", "IsClosed", "IsWon", "SystemModstamp", "_synced_at", "_deleted"),
        )
        .filter(~pl.col("_deleted"))
        .join(asked.select("Id"), on="Id", how="semi")
        .sort("Id", "_synced_at")
        .with_columns(version_outcome=_outcome(pl.col("IsClosed"), pl.col("IsWon")))
    )
    run = pl.col("run")
    return (
        versions.with_columns(run=_runs("version_outcome", of="Id"))
        .group_by("Id")
        .agg(first_closed_at=pl.col("SystemModstamp").filter(run == run.last()).first())
    )


def _closes(found: pl.DataFrame, first_closed: pl.DataFrame, cutoff: Cutoff) -> pl.DataFrame:
    """The instant at which each deal was closed (1.5); a deal closed later than as_of is open."""
    closed_by_row = pl.col("row_outcome").fill_null(_OPEN) != _OPEN
    without_row = pl.min_horizontal(day_end(pl.col("CloseDate"), cutoff.zone), pl.col("first_closed_at"))
    closed_at = (
        pl.when(pl.col("outcome") == _OPEN)
        .then(None)
        .when(closed_by_row)
        .then(pl.col("run_started_at"))
        .otherwise(without_row)
    )
    seen = cutoff.happened("closed_at").fill_null(value=False)
    return (
        found.join(first_closed, on="Id", how="left")
        .with_columns(closed_at=closed_at)
        .with_columns(
            closed_at=pl.when(seen).then(pl.col("closed_at")),
            outcome=pl.when(seen).then(pl.col("outcome")).otherwise(pl.lit(_OPEN, pl.Int8)),
        )
    )


def _last_open_spells(visible: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
    """Per closed deal with two or more open spells before its close: when the last of them began (1.6)."""
    closed = found.filter(pl.col("closed_at").is_not_null()).select("Id", "CreatedDate", "closed_at")
    spells = (
        visible.with_columns(spell=_runs("stage", of="OpportunityId"))
        .group_by("spell", maintain_order=True)
        .agg(
            Id=pl.col("OpportunityId").first(),
            entered_at=pl.col("CreatedDate").first(),
            open=pl.col("outcome").first() == _OPEN,
        )
        .drop("spell")
        .join(closed, on="Id", how="inner")
    )
    first = spells.group_by("Id").agg(pl.col("entered_at", "CreatedDate", "closed_at").first())
    unknown = first.filter(pl.col("entered_at") > pl.col("CreatedDate")).with_columns(
        entered_at="CreatedDate", open=pl.lit(value=True)
    )
    return (
        pl.concat([spells, unknown], how="diagonal")
        .filter("open", pl.col("entered_at") < pl.col("closed_at"))
        .group_by("Id")
        .agg(spells=pl.len(), last_open_spell_at=pl.col("entered_at").max())
        .filter(pl.col("spells") >= 2)
        .drop("spells")
    )


def _minor_units(currency: str) -> pl.Expr:
    """The amount in whole minor units, rounded once, half to even (1.10); null where there is no rate."""
    digits = money.digits(currency)
    units = (
        pl.col("amount")
        .cast(pl.Decimal(38, 18))
        .round(digits, mode="half_to_even")
        .cast(pl.Decimal(38, digits))
        .to_physical()
        .cast(pl.Int64, strict=False)
    )
    return pl.when(pl.col("CurrencyIsoCode").fill_null(currency) == currency).then(units)


def _deal_type(mapping: Mapping) -> pl.Expr:
    """Deal type from the mapped field: exact values first, then words, ignoring case (2.2)."""
    value = pl.col(mapping.deal_type.field)
    lower = value.str.to_lowercase()
    by_word = (
        pl.when(lower.str.contains("renew", literal=True))
        .then(pl.lit("renewal"))
        .when(lower.str.contains("^existing|upgrade|upsell|expansion|add-on|cross"))
        .then(pl.lit("expansion"))
        .when(lower.str.contains("new", literal=True))
        .then(pl.lit("new"))
        .otherwise(pl.lit("unclassified"))
    )
    exact = value.replace_strict(
        list(mapping.deal_type.values),
        list(mapping.deal_type.values.values()),
        default=None,
        return_dtype=pl.String,
    )
    return pl.coalesce(exact, by_word) if mapping.deal_type.values else by_word


def _excluded(conditions: Iterable[Filter]) -> pl.Expr:
    """Whether any of the conditions holds; as in SOQL a missing value fulfils only ``!=`` and ``is_null``."""
    return pl.any_horizontal(pl.lit(value=False), *(_holds(condition) for condition in conditions))


def _holds(condition: Filter) -> pl.Expr:
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
