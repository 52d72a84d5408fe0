"""A believable and hostile Salesforce org, made from a seed.

The rows look as a sync would read them: Salesforce's field names, 18-character ids with key prefix and
checksum, aware UTC instants in whole seconds. They are full of what breaks attribution in real orgs: reopened
deals, deals without history, evidence logged late, re-created partner rows, partners that also buy, merged
accounts, dates near midnight, lookups filled late, rates that nobody entered. Companies are coined and people
are numbered; nobody in here exists.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from attribution.mapping import Mapping
from attribution.testing.org import Org
from attribution.testing.synthetic.edits import Edits
from attribution.testing.synthetic.rows import Row, salesforce_id
from attribution.testing.synthetic.schema import Schema, schema_of, settings_of
from attribution.testing.synthetic.words import CURRENCIES
from attribution.testing.truth import Rules, Truth, known_truth

__all__ = ["NOW", "Schema", "SyntheticOrg", "generate", "salesforce_id"]

NOW = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
"""The instant at which a generated org stands still, unless another one is asked for."""

_AFTER = timedelta(minutes=10)
"""How long after the last change the clock of a loaded org stands: a sync's watermark covers everything."""


@dataclass(frozen=True, slots=True)
class SyntheticOrg:
    """The rows of a generated org by Salesforce object, and the instant at which it stands still.

    `settings` is the `attribution.toml` that suits it, `schema` what it has besides the standard objects,
    `edits` the records that were changed or added until `edited_at`, in their newest version.
    """

    records: dict[str, list[Row]]
    now: datetime
    settings: str
    schema: Schema
    edits: dict[str, list[Row]]
    edited_at: datetime

    @property
    def mapping(self) -> Mapping:
        """How this org stores things."""
        return Mapping.model_validate(tomllib.loads(self.settings)["mapping"])

    def org(self, **options: Any) -> Org:
        """Return an org on loopback that holds these rows, ready to start, its clock ten minutes on.

        Parameters
        ----------
        **options
            Further options of `Org`, such as `quota`.

        Examples
        --------
        >>> with generate(20, seed=7).org() as org:
        ...     len(org.rows("Opportunity"))
        20
        >>> org.close()
        """
        org = Org(
            now=self.now,
            organization=self.records["Organization"][0],
            partner_licences=self.schema.partner_licences,
            multi_currency=self.schema.multi_currency,
            stages=(),
            **options,
        )
        for name, prefix, fields in self.schema.objects:
            org.add_object(name, prefix, fields)
        for name, fields in self.schema.fields:
            org.add_field(name, fields)
        for name, field in self.schema.tracked:
            org.track_history(name, field)
        org.load(self.records)
        org.now = self.now + _AFTER
        return org

    def edit(self, org: Org) -> None:
        """Bring a loaded org to its second state, with the clock ten minutes after it."""
        org.now = self.edited_at
        org.load(self.edits)
        org.now = self.edited_at + _AFTER

    def truth(
        self,
        as_of: datetime | None = None,
        policy: Rules | None = None,
        synced_at: datetime | None = None,
        *,
        edited: bool = False,
        known_at: datetime | None = None,
    ) -> Truth:
        """Work out the known truth of every deal, as of `now` unless another instant is given.

        Parameters
        ----------
        as_of : datetime, optional
            The event cut-off; `edited_at` if the edits were read and nothing is given.
        policy : Rules, optional
            Windows and lists other than the defaults; how things are stored is taken from `mapping`.
        synced_at : datetime, optional
            The watermark of the sync; the newest SystemModstamp if not given.
        edited : bool
            Whether a second sync has read the edits, ten minutes after them.
        known_at : datetime, optional
            The knowledge cut-off.
        """
        return known_truth(
            self.records,
            as_of=as_of or (self.edited_at if edited else self.now),
            policy=(policy or Rules()).under(self.mapping),
            synced_at=synced_at,
            later=((self.edited_at + _AFTER, self.edits),) if edited else (),
            known_at=known_at,
        )


def generate(
    opportunities: int = 2000,
    seed: int = 0,
    *,
    partner_licences: bool = True,
    now: datetime = NOW,
    time_zone: str = "America/New_York",
    mapped: bool = True,
    multi_currency: bool = True,
    currency: str = "USD",
    amount_field: str = "Amount",
) -> SyntheticOrg:
    """Make an org of that many opportunities; the same arguments give the same org.

    Parameters
    ----------
    opportunities : int
        How many, deleted ones included; the other objects grow with it.
    seed : int
        Seed of every choice. Where it is odd, registrations name the partner through a contact and tell
        their approval by field history; where it is even, by fields of their own.
    partner_licences : bool
        Whether there are PartnerAccountId, IsPartner, channel programs and partner users.
    now : datetime
        Nothing is recorded later; only planned meetings and close dates lie after it.
    time_zone : str
        The zone of the organization.
    mapped : bool
        Whether there are custom objects and fields: partner lookups, deal registrations, a junction object,
        overlaps, segments; and deal types in record types.
    multi_currency : bool
        Whether deals are in several currencies with dated rates.
    currency : str
        The corporate currency, or the only one: USD, EUR, JPY, KWD or GBP.
    amount_field : str
        The field with the amount; another one than Amount is the org's own.

    Raises
    ------
    ValueError
        If `opportunities` is negative, `now` is naive, or the currency is none of these.

    Examples
    --------
    >>> org = generate(20, seed=7)
    >>> len(org.records["Opportunity"]), len(org.truth().deals) <= 20
    (20, True)
    """
    if opportunities < 0:
        raise ValueError(f"opportunities must be 0 or more, got {opportunities}")
    if now.tzinfo is None:
        raise ValueError("now needs a time zone")
    if currency not in CURRENCIES:
        raise ValueError(f"currency must be one of {', '.join(CURRENCIES)}, got {currency!r}")
    by_contact = seed % 2 == 1
    schema = schema_of(
        partner_licences=partner_licences,
        multi_currency=multi_currency,
        mapped=mapped,
        by_contact=by_contact,
        amount_field=amount_field,
    )
    instant = now.astimezone(UTC).replace(microsecond=0)
    org = Edits(Random(seed), instant, ZoneInfo(time_zone), schema, amount_field, currency)
    org.found(opportunities)
    org.campaigns = [org.campaign(number) for number in range(opportunities // 50 + 1)]
    for number in range(opportunities):
        org.sell(number)
    if mapped:
        org.overlaps()
    edited_at = instant + timedelta(days=7)
    edits = org.edit(edited_at)
    settings = settings_of(mapped=mapped, by_contact=by_contact, amount_field=amount_field, currency=currency)
    return SyntheticOrg(org.rows, instant, settings, schema, edits, edited_at)
