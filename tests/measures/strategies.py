"""Arbitrary deals, on a coarse grid of days so that every boundary is hit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import strategies as st

from attribution import money
from attribution.columns import CLAIMS, Claim, Decision, Flag
from attribution.policy import Policy
from tests.notation import Path, Touch

DAYS = st.integers(-40, 40).map(lambda half: half / 2)
AS_OF = 20.0
ZONE = "America/New_York"

KINDS_DRAWN = [
    *("role", "partner_owned", "sourced_by", "referral", "handed_over", "meeting", "meeting"),
    *("deal_registration", "deal_registration", "workshop"),
]
APPROVALS_DRAWN = ["none", "pending", "approved", "approved", "rejected"]

POLICIES = st.builds(
    Policy,
    influence_window_days=st.sampled_from([5, 12, 30]),
    late_days=st.sampled_from([0, 2]),
    claim_days=st.sampled_from([0, 3]),
    lead_max_age_days=st.sampled_from([8, 30]),
    sourcing_window_days=st.sampled_from([2, 5]),
    registration_grace_days=st.sampled_from([0, 2]),
    registration_term_days=st.sampled_from([1, 6]),
    sourcing_roles=st.sampled_from([(), ("Referral",)]),
    void_by=st.sampled_from(
        [("open_opportunity",), (), ("direct_activity",), ("open_opportunity", "direct_activity")]
    ),
    direct_activity_days=st.sampled_from([0, 4, 90]),
    partner_team=st.sampled_from([(), ("005A",)]),
)


@st.composite
def touches(draw, record: str) -> Touch:
    flags = sum(flag for flag in (Flag.LINKED, Flag.BY_OWNER) if draw(st.booleans()))
    flags |= Flag.OWN_ACCOUNT if draw(st.integers(0, 9)) == 0 else 0
    flags |= Flag.SOURCING if draw(st.booleans()) else 0
    day = draw(DAYS)
    kind = draw(st.sampled_from(KINDS_DRAWN))
    judged = draw(st.integers(0, 3)) == 0 or kind == "deal_registration"
    approval = draw(st.sampled_from(APPROVALS_DRAWN)) if judged else "none"
    return Touch(
        partner=draw(st.sampled_from(["ann", "bob", "cat"])),
        day=day,
        record=record,
        program=draw(st.sampled_from([None, "resale", "cosell"])),
        kind=kind,
        strength=draw(st.sampled_from(["strong", "strong", "weak", "weak", "exposure"])),
        flags=flags,
        recorded=draw(st.one_of(st.none(), DAYS)),
        role=draw(st.sampled_from([None, "Referral", "Consultant"])),
        hosts=draw(st.lists(st.sampled_from(["005A", "005B"]), max_size=2, unique=True)),
        tier=draw(st.sampled_from([None, "gold", "silver"])),
        approval=approval,
        approved=draw(DAYS) if approval == "approved" else None,
        expires=draw(st.one_of(st.none(), DAYS)) if judged else None,
        reach=draw(st.sampled_from([None, None, None, (0, 12), (6, 100)])),
    )


def acts(record: str) -> st.SearchStrategy[Touch]:
    """What our own people did, without a partner."""
    return st.builds(
        Touch, st.just("direct"), DAYS, st.just(record), kind=st.sampled_from(["meeting", "call"])
    )


@st.composite
def paths(draw, max_deals: int = 4, largest: int = 10**12) -> list[Path]:
    """Deals of one organization: of one currency, some of them on one account."""
    currency = draw(st.sampled_from(["USD", "JPY", "KWD"]))
    deals = []
    for at in range(draw(st.integers(0, max_deals))):
        created = draw(DAYS)
        outcome = draw(st.sampled_from(["won", "won", "lost", "open"]))
        minor = draw(st.one_of(st.none(), st.just(0), st.integers(-largest, largest)))
        # some close before they are created: implausible rows stay
        closed = None if outcome == "open" else min(created + draw(st.integers(-2, 40)) / 2, AS_OF)
        records = [f"{at}r{number}" for number in range(draw(st.integers(0, 6)))]
        deals.append(
            Path(
                id=f"D{at}",
                created=created,
                closed=closed,
                outcome=outcome,
                amount=None if minor is None else money.major(minor, currency),
                currency=currency,
                type=draw(st.sampled_from(["new", "new", "expansion", "renewal", "unclassified"])),
                segments=draw(st.sampled_from([{}, {"Region": "east"}, {"Region": "west", "Size": "big"}])),
                account=draw(st.sampled_from([None, "acme", "acme", "globex"])),
                lead_source=draw(st.sampled_from([None, "Partner", "Web"])),
                reopened=draw(st.one_of(st.none(), DAYS)) if closed is not None else None,
                lead=draw(st.one_of(st.none(), DAYS)),
                touches=[draw(touches(record)) for record in records],
                direct=[draw(acts(f"{at}d{number}")) for number in range(draw(st.integers(0, 2)))],
            )
        )
    return deals


@st.composite
def decisions(draw, drawn: list[Path]) -> tuple[Decision, ...]:
    """Decisions about claims, some about partners or deals that are not there."""
    made = draw(
        st.lists(
            st.tuples(
                st.sampled_from([*(deal.id for deal in drawn), "D99"]),
                st.sampled_from(["ann", "ann", "bob", "cat", "zoe"]),
                st.sampled_from(CLAIMS),
                st.booleans(),
            ),
            max_size=8,
        )
    )
    noon = datetime(2026, 1, 21, 12, tzinfo=UTC)
    return tuple(
        Decision(Claim(deal, f"{partner}-id", kind), approve, "dana", f"reason {at}", noon + timedelta(at))
        for at, (deal, partner, kind, approve) in enumerate(made)
    )


def amount(path: Path) -> Decimal:
    return Decimal(0) if path.amount is None else path.amount
