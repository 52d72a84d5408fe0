"""Policy: how numbers are computed. Every window, rank and threshold, frozen and hashed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationError

from attribution.commented import spelled
from attribution.errors import UsageError
from attribution.settings import Settings, closest

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

    section: ClassVar[str] = "policy"

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
    void_by: tuple[Literal["open_opportunity", "direct_activity"], ...] = ("open_opportunity",)
    """What voids sourcing evidence of ranks 2 to 4: another new deal of the account was open already
    (``open_opportunity``), or our own people were working the account (``direct_activity``)."""
    direct_activity_days: Days = 90
    """A direct touch on the account voids evidence that came at most this long after it."""
    partner_team: tuple[str, ...] = ()
    """User ids whose presence in a meeting does not approve a partner's influence on its own."""

    def varied(self, **values: Iterable[Any]) -> dict[str, Policy]:
        """Policies that differ from this one in one setting each, by name; for :func:`attribution.what_if`.

        Raises
        ------
        UsageError
            For a setting that does not exist, or a value that does not suit it.

        Examples
        --------
        >>> list(Policy().varied(influence_window_days=[90, 365], late_days=[0]))
        ['influence_window_days = 90', 'influence_window_days = 365', 'late_days = 0']
        """
        varied = {}
        for name, given in values.items():
            if name not in type(self).model_fields:
                raise UsageError(
                    f"a policy has no setting {name!r}",
                    hint=f"known settings: {closest(name, type(self).model_fields, 40)}",
                )
            for value in given:
                try:
                    policy = self.model_validate({**self.model_dump(), name: value})
                except ValidationError as error:
                    fault = error.errors(include_url=False)[0]["msg"]
                    raise UsageError(f"{name} = {value!r}: {fault}") from None
                varied[f"{name} = {spelled(getattr(policy, name))}"] = policy
        return varied

    def differences(self, other: Policy) -> dict[str, tuple[Any, Any]]:
        """Settings in which another policy differs, each with the value here and there.

        Examples
        --------
        >>> Policy().differences(Policy(late_days=3))
        {'late_days': (7, 3)}
        """
        return {
            name: (getattr(self, name), getattr(other, name))
            for name in type(self).model_fields
            if getattr(self, name) != getattr(other, name)
        }
