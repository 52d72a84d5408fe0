"""From evidence to deals: who was a partner then, in which program, and the account rule (RULES 3, 4.2)."""

from __future__ import annotations

import polars as pl

from attribution.derive.partners import Accounts
from attribution.derive.schema import LATE, Cutoff

__all__ = ["attach", "of_partners", "with_program"]

_ALWAYS = 2**63 - 1


def of_partners(evidence: pl.DataFrame, spans: pl.DataFrame) -> pl.DataFrame:
    """Evidence of accounts that were partners when it happened (3.2)."""
    rows = evidence.with_row_index("row")
    held = (
        rows.select("row", "partner", "occurred_at")
        .join(spans, on="partner", how="inner")
        .filter(pl.col("since") <= pl.col("occurred_at"), pl.col("occurred_at") < pl.col("until"))
    )
    return rows.join(held.select("row"), on="row", how="semi").drop("row")


def with_program(evidence: pl.DataFrame, spans: pl.DataFrame) -> pl.DataFrame:
    """Add ``program``: the only one the partner was in at that instant, else null (3.4)."""
    rows = evidence.with_row_index("row")
    only = (
        rows.select("row", "partner", "occurred_at")
        .join(spans, on="partner", how="inner")
        .filter(pl.col("since") <= pl.col("occurred_at"), pl.col("occurred_at") < pl.col("until"))
        .group_by("row")
        .agg(memberships=pl.len(), program=pl.col("program").first())
        .filter(pl.col("memberships") == 1)
    )
    return rows.join(only.select("row", "program"), on="row", how="left").drop("row")


def attach(
    evidence: pl.DataFrame, deals: pl.DataFrame, accounts: Accounts, cutoff: Cutoff, internal: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Bring evidence to its deals.

    Returns
    -------
    touchpoints
        Evidence with ``deal`` (its position), ``linked``, ``reach_from``, ``reach_below``, ``own_account``,
        ``self_deal``, ``logged_late`` and ``by_owner``.
    stranded
        Account-level evidence that reached no deal, with ``ambiguous``.
    """
    positions = deals.select(opportunity="id", deal="deal")
    named = evidence.filter(pl.col("opportunity").is_not_null()).join(positions, on="opportunity", how="left")
    named = named.with_columns(
        linked=pl.lit(value=True), reach_from=pl.lit(0, pl.Int64), reach_below=pl.lit(_ALWAYS, pl.Int64)
    )
    by_account = evidence.filter(pl.col("opportunity").is_null())
    reached, ambiguous = _account_rule(by_account, deals, cutoff)
    touchpoints = pl.concat([named.filter(pl.col("deal").is_not_null()), reached.select(named.columns)])
    # an opportunity that is deleted, excluded or not yet created leaves its evidence an orphan
    lost = named.filter(pl.col("deal").is_null()).with_columns(ambiguous=pl.lit(value=False))
    stranded = pl.concat([rows.select(*evidence.columns, "ambiguous") for rows in (ambiguous, lost)])
    return _judged(touchpoints, deals, accounts, internal), stranded


def _account_rule(
    evidence: pl.DataFrame, deals: pl.DataFrame, cutoff: Cutoff
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A touch of an account reaches a deal only if exactly one is eligible (4.2).

    How early before its creation a deal is eligible is the policy's influence window, which deriving does not
    know. So each touch keeps the deal that needs the shortest window, with that window (``reach_from``) and
    the one from which a second deal is eligible too (``reach_below``).
    """
    rows = evidence.with_row_index("touch")
    eligible = deals.filter(pl.col("deal_type") != "renewal").select(
        "account", "deal", "created_at", ends_at=pl.col("closed_at").dt.epoch("us").fill_null(cutoff.as_of)
    )
    lead = (pl.col("created_at") - pl.col("occurred_at")).dt.total_microseconds().clip(0)
    nearest = (
        rows.select("touch", "account", "occurred_at")
        .join(eligible, on="account", how="inner")
        .filter(pl.col("occurred_at").dt.epoch("us") <= pl.col("ends_at"))
        .with_columns(lead=lead)
        .sort("touch", "lead", "deal")
        .group_by("touch", maintain_order=True)
        .agg(
            deal=pl.col("deal").first(),
            reach_from=pl.col("lead").first(),
            reach_below=pl.col("lead").get(1, null_on_oob=True).fill_null(_ALWAYS),
        )
    )
    found = rows.join(nearest, on="touch", how="left").with_columns(linked=pl.lit(value=False))
    unique = pl.col("reach_from") < pl.col("reach_below")
    return (
        found.filter(unique),
        found.filter(unique.fill_null(value=False).not_()).with_columns(
            ambiguous=pl.col("deal").is_not_null()
        ),
    )


def _judged(
    touchpoints: pl.DataFrame, deals: pl.DataFrame, accounts: Accounts, internal: pl.DataFrame
) -> pl.DataFrame:
    """Mark a partner's touches on its own deals (3.3), late records, and those made by the deal's owner."""
    families = accounts.live.select("id", "family")
    home = (
        deals.select("deal", "owner", deal_account="account")
        .join(families.rename({"id": "deal_account", "family": "deal_family"}), on="deal_account", how="left")
        .join(internal.with_columns(inside=pl.lit(value=True)), left_on="owner", right_on="user", how="left")
    )
    own = (
        (pl.col("partner") == pl.col("deal_account")) | (pl.col("partner_family") == pl.col("deal_family"))
    ).fill_null(value=False)
    apart = (pl.col("recorded_at") - pl.col("occurred_at")).abs() > pl.duration(days=LATE)
    return (
        touchpoints.join(home, on="deal", how="left")
        .join(families.rename({"id": "partner", "family": "partner_family"}), on="partner", how="left")
        .with_columns(
            own_account=own & ~pl.col("explicit"),
            self_deal=own & pl.col("explicit"),
            logged_late=apart.fill_null(value=False),
            by_owner=((pl.col("recorded_by") == pl.col("owner")) & pl.col("inside")).fill_null(value=False),
        )
    )
