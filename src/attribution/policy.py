"""Policy: how numbers are computed. Every window, rank and threshold, frozen and hashed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from attribution.settings import Settings

__all__ = ["Policy"]

Days = Annotated[int, Field(ge=0, le=36_500)]


class Policy(Settings):
    """The rules by which claims and credit are computed.

    Two runs with equal hashes compute by equal rules. Every ``_days`` is a multiple of 24 hours and
    includes both its ends.

    Examples
    --------
    >>> from attribution import Policy
    >>> Policy().influence_window_days
    365
    >>> Policy(influence_window_days=180).hash == Policy().hash
    False
    """

    influence_window_days: Days = 365
    """A touchpoint counts if it lies at most this long before the close (open deals: before as_of)."""
    late_days: Days = 7
    """On a closed deal some counting touchpoint must lie at least this long before the close."""
    claim_days: Days = 14
    """Sourcing evidence recorded later than this after the deal's creation is out."""
    registration_grace_days: Days = 3
    """A deal registration sources a deal if it was submitted at most this long after the deal's creation."""
    registration_term_days: Days = 90
    """How long an approved registration holds where the mapping names no expiry date."""
    lead_max_age_days: Days = 365
    """A converted lead sources a deal if it is at most this much older than the deal."""
    sourcing_window_days: Days = 90
    """A lead not linked to the deal sources it if it is at most this much older than the deal."""
    sourcing_roles: tuple[str, ...] = ()
    """Roles of Partner rows that bring a deal in, such as ``("Referral",)``; exact spelling."""
    partner_lead_sources: tuple[str, ...] = ("Partner", "Partner Referral", "Channel")
    """Lead sources that say "a partner" without naming one; reported as unverified, never credited."""
    void_by: tuple[Literal["open_opportunity"], ...] = ("open_opportunity",)
    """What voids sourcing evidence of ranks 2 to 4: another new deal of the account was open already."""
    partner_team: tuple[str, ...] = ()
    """User ids whose presence in a meeting does not approve a partner's influence on its own."""
