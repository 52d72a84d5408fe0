"""The known truth of a small org, worked out the slow way.

This is the referee for the fast code: dictionaries, lists, `Fraction` and `datetime`, one rule of the rules
page after the other, in the order in which a person with a pencil would apply them. It shares no code with
the fast path on purpose; each step names its rule. What the org stores where is an input, as it is there.

`facts` are question and answer, `records` the rows, `drafts` rules 1 and 2, `partners` rule 3, `sources` and
`activities` rule 4, `claims` rules 5 and 6, `tables` rules 7 and 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from attribution.testing.truth.activities import place_activities
from attribution.testing.truth.claims import influenced, sourcing, touchpoint
from attribution.testing.truth.drafts import Draft, Rates, draft, is_excluded, segments
from attribution.testing.truth.facts import DealTruth, Record, Records, Rules, TouchpointTruth, Truth
from attribution.testing.truth.partners import Partners
from attribution.testing.truth.records import ALWAYS, Book, created, identity, need, read
from attribution.testing.truth.sources import Placing, place_rows
from attribution.testing.truth.tables import credit, split, table, totals

__all__ = [
    "DealTruth",
    "Rules",
    "TouchpointTruth",
    "Truth",
    "credit",
    "known_truth",
    "split",
    "table",
    "totals",
]


def known_truth(
    records: Records,
    *,
    as_of: datetime,
    policy: Rules | None = None,
    digits: int | None = None,
    synced_at: datetime | None = None,
    later: Sequence[tuple[datetime, Records]] = (),
    known_at: datetime | None = None,
) -> Truth:
    """Work out every deal of an org, slowly.

    Parameters
    ----------
    records : mapping of str to sequence of mapping
        Salesforce object -> rows with Salesforce field names and Python values, one version per record.
    as_of : datetime
        The event cut-off, aware.
    policy : Rules, optional
        Windows, lists and mapping; the defaults of the rules page if not given.
    digits : int, optional
        Minor-unit digits of the report currency, if they are not those of the currency.
    synced_at : datetime, optional
        The watermark of the sync, from which on the records themselves count; the newest SystemModstamp
        if not given.
    later : sequence of (datetime, records)
        Further versions of records, with the instants at which later syncs read them.
    known_at : datetime, optional
        The knowledge cut-off: nothing created or read later is visible.

    Returns
    -------
    Truth
        Frozen and comparable with ``==``.

    Raises
    ------
    ValueError
        If `as_of` is naive.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> known_truth({"Opportunity": []}, as_of=datetime(2026, 1, 1, tzinfo=UTC)).deals
    {}
    """
    if as_of.tzinfo is None:
        raise ValueError("as_of needs a time zone")
    book = Book(records, later, as_of, known_at, policy or Rules())
    if synced_at is None:
        stamps = [row.get("SystemModstamp") for name in book.versions for row in book.rows(name)]
        synced_at = max((at for at in stamps if isinstance(at, datetime)), default=ALWAYS)
    partners, rates = Partners(book), Rates(book, digits)
    history: dict[str, list[Record]] = {}
    for row in book.live("OpportunityHistory"):
        history.setdefault(need(row, "OpportunityId", str), []).append(row)

    drafts: dict[str, Draft] = {}
    excluded = 0
    for key, record in book.opportunities.items():
        if created(record) > as_of:
            continue
        if is_excluded(book, record):
            excluded += 1
            continue
        changes = partners.field_changes.get(key, [])
        drafts[key] = draft(book, record, history.get(key, []), changes, synced_at, rates)

    placing = Placing(book, partners, drafts)
    place_rows(placing)
    place_activities(placing)
    deals = {key: _judged(placing, deal) for key, deal in drafts.items()}

    seen = sorted({point.partner_id for deal in deals.values() for point in deal.touchpoints})
    parents = {partner: book.ultimate_parent(partner) for partner in seen}
    return Truth(
        deals,
        frozenset(placing.ambiguous),
        frozenset(placing.orphans),
        {key: _name(book.accounts.get(key, {}), key) for key in seen},
        {identity(row): _name(row, identity(row)) for row in book.live("ChannelProgram")},
        excluded,
        rates.digits,
        rates.currency,
        parents,
        {key: _name(book.accounts.get(key, {}), key) for key in sorted(set(parents.values()))},
        {identity(row): _name(row, identity(row)) for row in book.live("ChannelProgramLevel")},
        frozenset(placing.direct),
    )


def _name(row: Record, key: str) -> str:
    return read(row, "Name", str) or key


def _judged(placing: Placing, deal: Draft) -> DealTruth:
    """Put the touchpoints in order and apply sections 5 and 6."""
    book = placing.book
    deal.touches.sort(key=lambda touch: touch.order)
    points = {touch.id: touchpoint(book, placing.partners, deal, touch) for touch in deal.touches}
    winner, contested, unverified = sourcing(book, deal, (placing.by_account, placing.direct))
    sourced_by = None if winner is None else winner.partner_id
    today = book.as_of.astimezone(book.zone).date()
    return DealTruth(
        id=deal.id,
        created_at=deal.created_at,
        closed_at=deal.closed_at,
        outcome=deal.outcome,
        closed_on=deal.closed_on,
        amount_minor=deal.amount_minor,
        deal_type=deal.deal_type,
        future_dated=deal.outcome == "won" and deal.closed_on is not None and deal.closed_on > today,
        spells=tuple(deal.spells),
        touchpoints=tuple(points.values()),
        sourced_partner_id=sourced_by,
        sourced_program=None if winner is None else points[winner.id].program_id,
        contested=contested,
        unverified=unverified,
        influenced=influenced(book, deal, points, sourced_by),
        sourced_tier=None if winner is None else points[winner.id].tier_id,
        segments=segments(book, deal.record),
        lead_created_at=placing.first_leads.get(deal.id),
        owner_id=read(deal.record, "OwnerId", str),
        close_date_pushes=deal.close_date_pushes,
    )
