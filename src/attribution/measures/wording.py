"""Words: what people call kinds of evidence, rules and dates, in the sentences of an explanation."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from zoneinfo import ZoneInfo

from attribution.columns import from_micros

__all__ = ["RANKS", "REFUSALS", "RULES", "called", "day_texts", "days_text", "listed", "noun"]

REFUSALS = {
    "ambiguous": "several deals of the account were in reach",
    "out_of_reach": "no deal of the account was in reach",
    "own_account": "on the partner's own account",
    "rejected": "rejected in the CRM",
    "handed_over": "we handed it over, the partner did not bring it",
    "exposure": "exposure only",
    "expired": "expired when the deal was created",
    "after_close": "after the close",
    "outside_window": "too long before the close",
}
"""Why a touchpoint does not count, in words."""

_NOUNS = {
    "deal_registration": "registration",
    "partner_owned": "entry of the opportunity",
    "sourced_by": "entry as sourcing partner",
    "role": "partner role",
    "handed_over": "handed-over record",
    "email": "e-mail",
    "overlap": "account overlap",
}
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September"),
    *("October", "November", "December"),
)
_TIMES = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f")
RANKS = ("", "an approved registration", "a referral", "a partner's entry, field or role")
"""Sourcing evidence by rank."""

RULES = {
    "rank": "An approved registration comes first, then a referral, then the rest; of a rank, the earliest.",
    "strength": "Influence takes one strong touchpoint, or two weak ones on different days.",
    "renewal": "Nobody sources a renewal.",
    "claim_days": "Sourcing evidence must be recorded by {0}, {days} after the deal.",
    "registration_grace_days": "A registration must be submitted by {0}, {days} after the deal.",
    "registration_term_days": "A registration without an expiry date of its own holds for {days}.",
    "lead_max_age_days": "A lead of the deal may be of {0} at the earliest, {days} before the deal.",
    "sourcing_window_days": (
        "A lead that is not linked to the deal may be of {0} at the earliest, {days} before the deal."
    ),
    "void_by": "Evidence other than a registration is void if we were working the account already.",
    "direct_activity_days": "A meeting or call of our own people on the account counts for {days}.",
    "influence_window_days": "Touchpoints count from {0} to {1}: {days}.",
    "late_days": "One counting touchpoint must lie on {0} or earlier, {days} before the close.",
    "partner_lead_sources": "A lead source of {names} says that a partner was there, without a name.",
    "partner_team": "A meeting with one of our own people, other than the partner team, approves a claim.",
}
"""Rules by the setting of the policy that they come from, or by the name of a fixed one."""


def noun(kind: str) -> str:
    """What people call a kind of touchpoint."""
    return _NOUNS.get(kind, kind.replace("_", " "))


def listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    Examples
    --------
    >>> listed(["Ann"]), listed(["Ann", "Bob", "Cat"])
    ('Ann', 'Ann, Bob and Cat')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def day_texts(instants: Sequence[int], zone: ZoneInfo, *, beside: Sequence[int] = ()) -> list[str]:
    """Dates as people write them; all with the time if two fall on one day, be it one of those ``beside``.

    Times have no more digits than it takes to tell them apart, and their offset on a day that has two.

    Examples
    --------
    >>> day_texts([0], ZoneInfo("UTC"))
    ['1 January 1970']
    >>> day_texts([0, 90_000_000], ZoneInfo("UTC"))
    ['1 January 1970 at 00:00', '1 January 1970 at 00:01']
    """
    moments = {micros: from_micros(micros).astimezone(zone) for micros in (*instants, *beside)}
    days = [moments[micros].date() for micros in instants]
    told = [_date(day) for day in days]
    others = [moments[micros].date() for micros in beside]
    if len(set(days)) == len(days) and not set(days) & set(others):
        return told
    shared = [at for at in moments.values() if (days + others).count(at.date()) > 1]
    offset = len({(at.date(), at.utcoffset()) for at in shared}) > len({at.date() for at in shared})
    for digits in _TIMES:
        times = [f"{moments[micros]:{digits}}" for micros in instants]
        if len({(at.date(), at.utcoffset(), f"{at:{digits}}") for at in shared}) == len(shared):
            break
    if offset:
        times = [f"{time} {moments[micros]:UTC%z}" for micros, time in zip(instants, times, strict=True)]
    return [f"{day} at {time}" for day, time in zip(told, times, strict=True)]


def _date(day: date) -> str:
    # the names of months that strftime knows are those of the machine
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def days_text(n: int) -> str:
    """A number of days."""
    return "1 day" if n == 1 else f"{n} days"


def called(opportunity_id: str, name: str) -> str:
    """An opportunity by its name, and by its id."""
    return opportunity_id if name == opportunity_id else f"{name} ({opportunity_id})"
