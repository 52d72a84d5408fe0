"""What an audit finds on deals: evidence that is late, arranged, or leads to nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import polars as pl

from attribution import money
from attribution.columns import APPROVALS, APPROVERS, DAY, DEAL_TYPES, KINDS, OPEN, Bools, Flag, Ints
from attribution.measures import claims as claiming
from attribution.measures.scope import RAW, Found, Scope, days, told

__all__ = ["LATE_DAYS", "UNLIKELY", "after_direct", "clusters", "records", "self_approved", "unattributed"]

LATE_DAYS: Final = 14
"""Evidence recorded more than this after it happened is ``logged_late``."""
UNLIKELY: Final = 0.01
"""Evidence is ``clustered`` if chance would do that to any of the partners less often than this."""
_RENEWAL: Final = DEAL_TYPES.index("renewal")
_NAMED_LATER: Final = ("role", "sourced_by", "deal_registration")
"""Kinds by which a partner is put on a deal."""


def records(scope: Scope) -> Iterator[Found]:
    """Single pieces of evidence: what their own instants and flags say."""
    snapshot = scope.deals.snapshot
    columns = snapshot.touchpoints
    happened, recorded, closed = columns.occurred_at, scope.recorded_at, scope.closed_at
    lag, since = pl.col("recorded_at") - pl.col("occurred_at"), pl.col("occurred_at") - pl.col("closed")
    own_kinds = (columns.kind >= len(KINDS)) & ((columns.flags & Flag.SOURCING) != 0)
    no_records = "the tables have no column recorded_at" if "recorded_at" in snapshot.untold else None
    no_accounts = "the tables have no column account_id" if "account" in snapshot.untold else None
    late = pl.format("{} recorded {} days after it happened", "what", days(lag))
    before = pl.format(
        "{} dated {} days before the close, recorded {} days after it",
        *("what", days(-since), days(pl.col("recorded_at") - pl.col("closed"))),
    )
    after = pl.format("{} put the partner on the deal {} days after the close", "what", days(since))
    own = pl.format("{} names the deal's own account, or one of its family, as the partner", "what")
    for kind, mask, finding, missing in (
        ("logged_late", recorded - happened > LATE_DAYS * DAY, late, no_records),
        ("backdated", (happened <= closed) & (recorded > closed), before, no_records),
        ("set_after_close", (happened > closed) & (scope.of_kinds(*_NAMED_LATER) | own_kinds), after, None),
        ("self_deal", (columns.flags & Flag.SELF_DEAL) != 0, own, no_accounts),
    ):
        rows = np.flatnonzero(scope.evidence & mask)
        frame = None if missing else told(scope.touches(rows), kind, finding)
        yield kind, frame, scope.stake(scope.deals.deal_of[rows]), missing


def clusters(scope: Scope) -> Iterator[Found]:
    """Partners of whose evidence an unusual part lies in the last days before closes."""
    from scipy.stats import hypergeom

    columns, days = scope.deals.snapshot.touchpoints, scope.deals.policy.late_days
    before = scope.evidence & (scope.closed_at != OPEN) & (columns.occurred_at <= scope.closed_at)
    last = before & (columns.occurred_at > scope.closed_at - days * DAY)
    n_partners = len(scope.deals.partners)
    n_all, n_last = (np.bincount(columns.partner[mask], minlength=n_partners) for mask in (before, last))
    in_all, in_last = int(n_all.sum()), int(n_last.sum())
    looked_at = np.flatnonzero(n_all)
    chance = np.asarray(hypergeom.sf(n_last[looked_at] - 1, in_all, in_last, n_all[looked_at]))
    unusual = np.flatnonzero(chance * len(looked_at) < UNLIKELY)
    rows, stake = [], np.zeros(len(scope.chosen), dtype=bool)
    for at in unusual.tolist():
        partner = int(looked_at[at])
        mine, all_mine, odds = int(n_last[partner]), int(n_all[partner]), float(chance[at])
        theirs = (in_last - mine) / (in_all - all_mine)
        concerned = scope.stake(scope.deals.deal_of[last & (columns.partner == partner)])
        stake |= concerned
        finding = (
            f"{mine:,} of {all_mine:,} pieces of evidence ({mine / all_mine:.1%}) lie in the last "
            f"{days} days before a close, of the other partners' {theirs:.1%}; by chance with probability "
            f"{odds:.1e}, {len(looked_at):,} partners looked at"
        )
        minor = money.total(scope.deals.snapshot.deals.amount[concerned])
        row = {"kind": "clustered", "deal": -1, "partner": partner, "score": odds, "minor": minor}
        rows.append({**dict.fromkeys(RAW), **row, "finding": finding})
    yield "clustered", pl.DataFrame(rows, schema=RAW), stake, None


def self_approved(scope: Scope) -> Iterator[Found]:
    """Records that were approved by who wrote them."""
    columns = scope.deals.snapshot.touchpoints
    if "approver" in scope.deals.snapshot.untold or columns.approver is None:
        yield "self_approved", None, scope.stake(np.empty(0, int)), "nothing tells who approved a record"
        return
    approved = scope.evidence[columns.judged] & (columns.approval == APPROVALS.index("approved"))
    unknown = int((approved & (columns.approver == APPROVERS.index("unknown"))).sum())
    rows = columns.judged[approved & (columns.approver == APPROVERS.index("claimant"))]
    finding = pl.format("{} approved by the user who recorded it", "what")
    note = (
        f"{unknown:,} of {int(approved.sum()):,} approvals: nothing tells whose they are" if unknown else None
    )
    frame = told(scope.touches(rows), "self_approved", finding)
    yield "self_approved", frame, scope.stake(scope.deals.deal_of[rows]), note


def after_direct(scope: Scope) -> Iterator[Found]:
    """Registrations submitted when the account already had an open opportunity without any partner."""
    deals, columns = scope.deals.snapshot.deals, scope.deals.snapshot.touchpoints
    evidence = np.flatnonzero(scope.any_evidence)
    first = np.full(len(deals), OPEN)
    whose, places = np.unique(scope.deals.deal_of[evidence], return_index=True)
    first[whose] = columns.occurred_at[evidence[places]]
    # the last instant at which a deal was open and no partner had done anything
    until = np.minimum(deals.closed_at - 1, first)
    account = np.where(
        deals.account >= 0, deals.account, int(deals.account.max(initial=-1)) + 1 + np.arange(len(deals))
    )
    direct = np.flatnonzero((deals.deal_type != _RENEWAL) & (until > deals.created_at))
    reach = pl.col("until").cum_max().over("account")
    opened = (
        pl.DataFrame(
            {
                "account": account[direct],
                "at": deals.created_at[direct],
                "until": until[direct],
                "other": direct,
            }
        )
        .sort("account", "at", "other")
        .with_columns(reach=reach)
        .with_columns(other=pl.when(pl.col("until") == reach).then("other").forward_fill().over("account"))
    )
    rows = np.flatnonzero(scope.evidence & scope.of_kinds("deal_registration"))
    ids = pl.Series(deals.id).cast(pl.String) if len(deals) else pl.Series([], dtype=pl.String)
    found = (
        scope.touches(rows)
        .with_columns(account=pl.Series(account[scope.deals.deal_of[rows]]), order=pl.int_range(pl.len()))
        .sort("occurred_at")
        .join_asof(
            opened.sort("at"),
            left_on="occurred_at",
            right_on="at",
            by="account",
            strategy="backward",
            allow_exact_matches=False,
            check_sortedness=False,
        )
        .filter(pl.col("reach") >= pl.col("occurred_at"))
        .sort("order")
    )
    other = found["other"].to_numpy().astype(np.int64)
    found = found.with_columns(
        other_id=ids.gather(other), opened=pl.Series(deals.created_at[other], dtype=pl.Int64)
    )
    which = pl.when(pl.col("deal") == pl.col("other")).then(pl.lit("the deal")).otherwise("other_id")
    since = days(pl.col("occurred_at") - pl.col("opened"))
    finding = pl.format("registered {} days after {} was opened, on which no partner had acted", since, which)
    note = (
        "other deals of the account: no column account_id"
        if "account" in scope.deals.snapshot.untold
        else None
    )
    stake = scope.stake(found["deal"].to_numpy())
    yield "registered_after_direct", told(found, "registered_after_direct", finding), stake, note


def unattributed(scope: Scope) -> Iterator[Found]:
    """Deals with evidence up to their close that no partner gets anything of."""
    snapshot, found = scope.deals.snapshot, claiming.claims(scope.deals)
    columns, n_deals = snapshot.touchpoints, len(scope.chosen)
    attributed = np.zeros(n_deals, dtype=bool)
    attributed[found.deal[found.headline]] = True
    attributed[found.sourcing.source >= 0] = True
    touched = scope.evidence & (columns.occurred_at <= scope.closed_at) & ~attributed[scope.deals.deal_of]
    rows = np.flatnonzero(touched)

    def pairs(mask: Bools) -> Ints:
        return np.bincount(found.deal[mask], minlength=n_deals)

    influenced = found.standing == claiming.INFLUENCED
    per_deal = {
        "waiting": pairs(influenced & (found.state < claiming.AUTO_APPROVED)),
        "weak": pairs(found.standing == claiming.WEAK_ONLY),
        "late": pairs(found.standing == claiming.TOO_LATE),
    }
    frame = (
        scope.touches(rows)
        .group_by("deal", maintain_order=True)
        .agg(
            n=pl.len(),
            partners=pl.col("partner").n_unique(),
            partner=pl.col("partner").first(),
            occurred_at=pl.col("occurred_at").max(),
            minor=pl.col("minor").first(),
        )
    )
    deal = frame["deal"].to_numpy()
    frame = frame.with_columns(
        *(pl.Series(name, counts[deal]) for name, counts in per_deal.items()),
        partner=pl.when(pl.col("partners") == 1).then("partner").otherwise(-1),
        recorded_at=pl.lit(None, pl.Int64),
        evidence=pl.lit(None, pl.String),
        other_id=pl.lit(None, pl.String),
        score=pl.lit(None, pl.Float64),
    )
    rest = pl.col("partners").cast(pl.Int64) - pl.sum_horizontal(*per_deal)
    finding = pl.format(
        "nobody sourced the deal and no influence is approved; pieces of evidence: {}, partners: {}, claims "
        "not approved: {}, partners with weak evidence alone: {}, late: {}, out of window or invalid: {}",
        *(pl.col(name) for name in ("n", "partners", *per_deal)),
        pl.max_horizontal(rest, 0),
    )
    yield "unattributed", told(frame, "unattributed", finding), scope.stake(deal), None
