"""Decisions about claims: appended to a table of the mirror, and never changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Final

import polars as pl

from attribution.arrays import INSTANT
from attribution.columns import Claim, Decision
from attribution.derive.schema import follow
from attribution.errors import UsageError
from attribution.mirror.log import ObjectLog
from attribution.mirror.logs import Logs

__all__ = ["append_decision", "is_claimant", "read_decisions", "user_id"]

_SCHEMA: Final = {
    "Id": pl.String(),
    "OpportunityId": pl.String(),
    "PartnerId": pl.String(),
    "Claim": pl.String(),
    "IsApproved": pl.Boolean(),
    "DecidedBy": pl.String(),
    "Reason": pl.String(),
    "CreatedDate": INSTANT,
    "SystemModstamp": INSTANT,
    "IsDeleted": pl.Boolean(),
}


def append_decision(log: ObjectLog, decision: Decision) -> None:
    """Append a decision; the very same one twice is kept once.

    Raises
    ------
    UsageError
        If another decision about the claim was made at the same instant: neither would be the newest.
    """
    claim, at = decision.claim, decision.at
    same = [each for each in read_decisions(log) if each.claim == claim and each.at == at]
    if same:
        if same[0] == decision:
            return
        raise UsageError(
            f"{claim} was {_word(same[0])} at {at.isoformat()} already", hint="decide at a later instant"
        )
    # no record of Salesforce's has such an id
    digest = hashlib.sha256(f"{claim}\n{at.isoformat()}".encode()).hexdigest()
    row = {
        "Id": f"DEC{digest[:15]}",
        "OpportunityId": claim.opportunity_id,
        "PartnerId": claim.partner_id,
        "Claim": claim.kind,
        "IsApproved": decision.approve,
        "DecidedBy": decision.by,
        "Reason": decision.reason,
        "CreatedDate": at,
        "SystemModstamp": at,
        "IsDeleted": False,
    }
    log.append(pl.DataFrame([row], schema=_SCHEMA), synced_at=at)


def read_decisions(log: ObjectLog, known_at: datetime | None = None) -> tuple[Decision, ...]:
    """Every decision known at an instant, the oldest first."""
    if not log.exists:
        return ()
    rows = log.current()
    if known_at is not None:
        rows = rows.filter(pl.col("CreatedDate") <= pl.lit(known_at, INSTANT))
    return tuple(
        Decision(
            Claim(row["OpportunityId"], row["PartnerId"], row["Claim"]),
            row["IsApproved"],
            row["DecidedBy"],
            row["Reason"] or "",
            row["CreatedDate"],
        )
        for row in rows.sort("CreatedDate", "Id").collect().iter_rows(named=True)
    )


def is_claimant(logs: Logs, claim: Claim, evidence: Iterable[str], user: str) -> bool:
    """Whether a user claims, and so cannot approve: one of the partner's own, or who recorded the evidence.

    The owner of the opportunity is no claimant: what the owner recorded is the word of our own people.

    Parameters
    ----------
    evidence
        Ids of the partner's touchpoints on the opportunity.
    user
        Id of a user of the CRM.
    """
    contact = _links(logs, "User", "ContactId", [user]).get(user)
    account = _links(logs, "Contact", "AccountId", [contact]).get(contact) if contact else None
    if account is not None:
        family = follow(_links(logs, "Account", "ParentId"))
        if family.get(account, account) == family.get(claim.partner_id, claim.partner_id):
            return True
    owner = _links(logs, "Opportunity", "OwnerId", [claim.opportunity_id]).get(claim.opportunity_id)
    if user == owner and contact is None:
        return False
    records: dict[str, list[str]] = {}
    for touchpoint in evidence:
        name, record, _ = touchpoint.split(":")
        records.setdefault(name, []).append(record)
    authors = _editors(logs, claim)
    if authors:
        # a field that was set later was not set by who created the opportunity
        records.pop("Opportunity", None)
    for name, ids in records.items():
        authors |= set(_links(logs, name, "CreatedById", ids).values())
    return user in authors


def user_id(logs: Logs, by: str) -> str | None:
    """Id of the user that an id of 15 or 18 characters means; None if there is none."""
    users = logs.newest("User")
    if users is None:
        return None
    # an id of 15 characters is one of 18 without its checksum
    meant = (pl.col("Id") == by) | ((pl.col("Id").str.head(15) == by) & (len(by) == 15))
    found = users.filter(meant).select("Id").collect()["Id"]
    return str(found[0]) if len(found) else None


def _editors(logs: Logs, claim: Claim) -> set[str]:
    """Users who set a field of the opportunity to the partner, or wrote a Partner row, replaced or not."""
    found: set[str] = set()
    for name, partner in (("OpportunityFieldHistory", "NewValue"), ("Partner", "AccountToId")):
        rows = logs.newest(name)
        if rows is None or not {"OpportunityId", partner, "CreatedById"} <= set(rows.collect_schema()):
            continue
        mine = rows.filter(
            pl.col("OpportunityId") == claim.opportunity_id,
            pl.col(partner).str.head(15) == claim.partner_id[:15],
        )
        found |= set(mine.select("CreatedById").collect()["CreatedById"].drop_nulls())
    return found


def _links(logs: Logs, object: str, field: str, ids: list[str] | None = None) -> dict[str, str]:
    """The ids in a field, by the id of their record."""
    rows = logs.newest(object)
    if rows is None or field not in rows.collect_schema():
        return {}
    rows = rows.filter(pl.col(field).is_not_null())
    if ids is not None:
        rows = rows.filter(pl.col("Id").is_in(ids))
    return dict(rows.select("Id", field).collect().iter_rows())


def _word(decision: Decision) -> str:
    return "approved" if decision.approve else "rejected"
