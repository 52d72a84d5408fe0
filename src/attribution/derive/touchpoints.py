"""Where touchpoints are born: one function per row of the table in RULES 4, all returning ``EVIDENCE``.

Meetings, calls and e-mails are in :mod:`attribution.derive.activities`, mapped objects in
:mod:`attribution.derive.mapped`.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from attribution.arrays import INSTANT, day_start
from attribution.columns import KINDS
from attribution.derive.partners import Accounts, Partners
from attribution.derive.schema import EVIDENCE, View, date_only

__all__ = ["People", "Scene", "conform", "contact_roles", "people", "roles"]

EXPOSURE, WEAK, STRONG = 0, 1, 2
_REPLACED_WITHIN = "24h"


@dataclass(frozen=True, slots=True)
class People:
    """Whose account a contact or a user belongs to."""

    contacts: pl.DataFrame
    """``contact, account``."""
    partner_users: pl.DataFrame
    """``user, account``: users with a contact."""
    internal: pl.DataFrame
    """``user, host``: users without a contact, and their codes."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What every source of touchpoints looks at."""

    view: View
    accounts: Accounts
    people: People
    partners: Partners
    opportunities: pl.DataFrame
    deals_of_contacts: pl.DataFrame
    """``contact, opportunity``: the deals on which a contact has a role (4.2)."""

    def of_partners(self, touches: pl.LazyFrame, account: str = "account") -> pl.LazyFrame:
        """Touches of accounts that are or were partners, with the code ``partner``."""
        codes = self.partners.codes.lazy().select(pl.col("account").alias(account), "partner")
        return touches.join(codes, on=account, how="inner")

    def contacts_of_partners(self) -> pl.LazyFrame:
        """``contact, account, partner`` of the contacts whose account is or was a partner."""
        return self.of_partners(self.people.contacts.lazy())


def people(view: View, accounts: Accounts) -> People:
    """Read contacts and users."""
    contacts = (
        view.live("Contact", "Id", "AccountId")
        .filter(pl.col("AccountId").is_not_null())
        .select(contact="Id", account=accounts.resolve("AccountId"))
        .collect()
    )
    users = view.live("User", "Id", "ContactId").collect()
    external = users.select(user="Id", contact=accounts.resolve("ContactId")).drop_nulls()
    return People(
        contacts,
        external.join(contacts, on="contact", how="inner").select("user", "account"),
        users.filter(pl.col("ContactId").is_null())
        .select(user="Id")
        .sort("user")
        .with_columns(host=pl.int_range(pl.len(), dtype=pl.Int32)),
    )


def roles(view: View, accounts: Accounts, opportunities: pl.DataFrame) -> pl.DataFrame:
    """Partner rows of opportunities: role, strong; with ``account`` in the place of a partner's code.

    A row re-created within 24 hours of a deletion keeps its id and inherits instants and author (4.3).
    """
    rows = (
        view.newest(
            "Partner",
            *("Id", "OpportunityId", "AccountToId", "Role", "CreatedDate", "CreatedById", "SystemModstamp"),
        )
        .with_columns(account=accounts.resolve("AccountToId"))
        .drop_nulls(["OpportunityId", "account", "CreatedDate"])
        .collect()
    )
    origins = _origins(rows)
    origin = pl.col("Id").replace(origins) if origins else pl.col("Id")
    inherited = rows.select(origin="Id", occurred_at="CreatedDate", recorded_by="CreatedById")
    whose = opportunities.select(OpportunityId="id", opportunity_account="account")
    return (
        rows.filter(~pl.col("_deleted"))
        .with_columns(origin=origin)
        .join(inherited, on="origin", how="left")
        .filter(view.cutoff.happened("occurred_at"))
        .join(whose, on="OpportunityId", how="inner")
        .select(
            "account",
            "opportunity_account",
            "occurred_at",
            "recorded_by",
            record="Id",
            recorded_at="occurred_at",
            kind=of_kind("role"),
            strength=pl.lit(STRONG),
            opportunity="OpportunityId",
            explicit=pl.lit(value=True),
            role="Role",
        )
    )


def _origins(rows: pl.DataFrame) -> dict[str, str]:
    """The row whose instants each re-created row inherits: the start of its chain of replacements."""
    deletions = (
        rows.filter("_deleted")
        .select("OpportunityId", "account", replaced="Id", deleted_at="SystemModstamp", born="CreatedDate")
        .drop_nulls()
        .sort("deleted_at", "born", "replaced")
    )
    if deletions.is_empty():
        return {}
    pairs = deletions.select("OpportunityId", "account").unique()
    rows = rows.join(pairs, on=["OpportunityId", "account"], how="semi")
    matched = rows.sort("CreatedDate", "Id").join_asof(
        deletions,
        left_on="CreatedDate",
        right_on="deleted_at",
        by=["OpportunityId", "account"],
        strategy="backward",
        tolerance=_REPLACED_WITHIN,
        check_sortedness=False,
    )
    # a row deleted in the second of its creation would replace itself
    matched = matched.filter(pl.col("replaced").is_not_null(), pl.col("replaced") != pl.col("Id"))
    replaced = dict(zip(matched["Id"], matched["replaced"], strict=True))
    ends: dict[str, str] = {}
    for row in replaced:
        start = row
        while start in replaced and replaced[start] != row:
            start = replaced[start]
        ends[row] = start
    return ends


def conform(source: pl.LazyFrame | pl.DataFrame) -> pl.LazyFrame:
    """The columns of ``EVIDENCE``, in order; what a source does not know is null."""
    there = source.lazy().collect_schema().names()
    return source.lazy().select(
        (pl.col(name) if name in there else pl.lit(None)).cast(kind).alias(name)
        for name, kind in EVIDENCE.items()
    )


def of_kind(name: str) -> pl.Expr:
    """Code of a kind that the rules name."""
    return pl.lit(KINDS.index(name), pl.Int8)


def opened(scene: Scene) -> pl.LazyFrame:
    """Opportunities created by a partner user: partner_owned. Created internally for one: handed_over."""
    rows = scene.opportunities.lazy().select(
        "partner_account",
        record="id",
        occurred_at="created_at",
        recorded_at="created_at",
        recorded_by="created_by",
        opportunity="id",
    )
    return conform(_created(scene, rows, by_partner="partner_owned"))


def lookups(scene: Scene) -> pl.LazyFrame:
    """Mapped lookups on Opportunity: sourced_by or role, strong, from when the field was set (4.4)."""
    sources = [conform(pl.DataFrame(schema=EVIDENCE))]
    for lookup in scene.view.mapping.lookups_of("Opportunity"):
        named = scene.opportunities.lazy().select(
            "created_at",
            "created_by",
            record="id",
            value=lookup.field,
            account=scene.accounts.resolve(lookup.field),
        )
        named = scene.of_partners(named.drop_nulls(["account"]))
        dated = _since(scene, named, lookup.field)
        sources.append(
            conform(
                dated.with_columns(
                    recorded_at="occurred_at",
                    kind=of_kind(lookup.kind or "role"),
                    strength=pl.lit(STRONG),
                    opportunity="record",
                    explicit=pl.lit(value=True),
                )
            )
        )
    return pl.concat(sources)


def _since(scene: Scene, named: pl.LazyFrame, path: str) -> pl.LazyFrame:
    """When a lookup got its present value, and who set it, as far as that is known (4.4)."""
    view, field = scene.view, path.partition(".")[0]
    tracked = (
        view.live(
            "OpportunityFieldHistory", "OpportunityId", "Field", "NewValue", "CreatedDate", "CreatedById"
        )
        .filter(pl.col("Field") == field, pl.col("NewValue").is_not_null())
        .group_by(record="OpportunityId", short=pl.col("NewValue").str.head(15))
        .agg(
            set_at=pl.col("CreatedDate").max(),
            set_by=pl.col("CreatedById").sort_by("CreatedDate").last(),
        )
    )
    shown = (
        view.versions("Opportunity", path, "SystemModstamp")
        .with_columns(value=pl.col(path), first=pl.col("Id") != pl.col("Id").shift(1, fill_value=""))
        .group_by(record="Id", value="value")
        .agg(first=pl.col("first").any(), shown_at=pl.col("SystemModstamp").min())
    )
    at_creation = pl.col("first").fill_null(value=True)
    return (
        named.with_columns(short=pl.col("value").str.head(15))
        .join(tracked, on=["record", "short"], how="left")
        .join(shown, on=["record", "value"], how="left")
        .with_columns(
            occurred_at=pl.when(pl.col("set_at").is_not_null())
            .then("set_at")
            .when(at_creation)
            .then("created_at")
            .otherwise("shown_at"),
            recorded_by=pl.when(pl.col("set_at").is_not_null())
            .then("set_by")
            .when(at_creation)
            .then("created_by"),
        )
    )


def leads(scene: Scene) -> list[pl.LazyFrame]:
    """Converted leads created by a partner user, or with a mapped partner field: referral.

    Created internally with PartnerAccountId set: handed_over.
    """
    fields = [lookup.field for lookup in scene.view.mapping.lookups_of("Lead")]
    rows = converted(scene.view, scene.accounts, "PartnerAccountId", *fields).rename(
        {"PartnerAccountId": "partner_account"}
    )
    created = _created(scene, rows, by_partner="referral")
    named = [
        scene.of_partners(rows.with_columns(account=scene.accounts.resolve(field))).with_columns(
            kind=of_kind("referral"), strength=pl.lit(STRONG), explicit=pl.lit(value=True)
        )
        for field in fields
    ]
    return [conform(source) for source in (created, *named)]


def converted(view: View, accounts: Accounts, *names: str) -> pl.LazyFrame:
    """Leads that were converted by as_of, and where to: an ``opportunity``, else an account to ``reach``."""
    converted_at = day_start(pl.col("ConvertedDate"), view.cutoff.zone).dt.epoch("us")
    return (
        view.live(
            "Lead",
            *("Id", "CreatedDate", "CreatedById", "ConvertedDate", "ConvertedAccountId"),
            *("ConvertedOpportunityId", *names),
        )
        .filter(
            view.cutoff.happened("CreatedDate"),
            # a conversion that lies in the future of as_of has not linked the lead to anything yet
            (converted_at <= view.cutoff.as_of).fill_null(value=True),
            pl.col("ConvertedOpportunityId").is_not_null() | pl.col("ConvertedAccountId").is_not_null(),
        )
        .select(
            *names,
            record="Id",
            occurred_at="CreatedDate",
            recorded_at="CreatedDate",
            recorded_by="CreatedById",
            opportunity="ConvertedOpportunityId",
            reach=pl.when(pl.col("ConvertedOpportunityId").is_null()).then(
                accounts.resolve("ConvertedAccountId")
            ),
            home=accounts.resolve("ConvertedAccountId"),
        )
    )


def _created(scene: Scene, rows: pl.LazyFrame, by_partner: str) -> pl.LazyFrame:
    """Evidence from who created a record: a partner user's account, else the account it was handed to."""
    users = scene.people.partner_users.lazy().rename({"account": "creator_account"})
    insiders = scene.people.internal.lazy().select("user", inside=pl.lit(value=True))
    handed = pl.when("inside").then(scene.accounts.resolve("partner_account"))
    by_user = pl.col("creator_account").is_not_null()
    return scene.of_partners(
        rows.join(users, left_on="recorded_by", right_on="user", how="left")
        .join(insiders, left_on="recorded_by", right_on="user", how="left")
        .with_columns(
            account=pl.coalesce("creator_account", handed),
            kind=pl.when(by_user).then(of_kind(by_partner)).otherwise(of_kind("handed_over")),
            strength=pl.lit(STRONG),
            explicit=pl.lit(value=True),
        )
    )


def campaign_members(scene: Scene) -> pl.LazyFrame:
    """Campaign members: who responded, weak; who did not, exposure.

    The partner is the campaign's, else the account of the contact who is the member.
    """
    view, accounts = scene.view, scene.accounts
    zone = view.cutoff.zone
    whose = scene.of_partners(campaign_partners(view, accounts).lazy()).select(
        "campaign", "partner", "account"
    )
    responded = pl.col("HasResponded").fill_null(value=False)
    contacts = scene.people.contacts.lazy().rename({"account": "contact_account"})
    from_lead = converted(view, accounts).select(lead="record", linked="opportunity", lead_account="home")
    with_roles = scene.deals_of_contacts.lazy().select("contact", has_roles=pl.lit(value=True)).unique()
    members = (
        view.live(
            "CampaignMember",
            *("Id", "CampaignId", "LeadId", "ContactId", "HasResponded", "FirstRespondedDate"),
            *("CreatedDate", "CreatedById"),
        )
        .select(
            record="Id",
            campaign="CampaignId",
            lead=accounts.resolve("LeadId"),
            contact=accounts.resolve("ContactId"),
            occurred_at=pl.coalesce(date_only(pl.col("FirstRespondedDate"), zone), "CreatedDate"),
            recorded_at="CreatedDate",
            recorded_by="CreatedById",
            strength=pl.when(responded).then(WEAK).otherwise(EXPOSURE),
        )
        .join(contacts, on="contact", how="left")
        .join(from_lead, on="lead", how="left")
        # a lead that was not converted has led nowhere yet
        .filter(
            pl.col("contact").is_not_null()
            | pl.col("lead_account").is_not_null()
            | pl.col("linked").is_not_null()
        )
        .join(with_roles, on="contact", how="left")
    )
    of_campaign = members.join(whose, on="campaign", how="inner")
    of_contact = scene.of_partners(
        members.join(whose.select("campaign").unique(), on="campaign", how="anti"), account="contact_account"
    ).with_columns(account="contact_account")
    member_account = pl.coalesce("contact_account", "lead_account")
    touches = pl.concat(
        [
            each.select(*members.collect_schema().names(), "partner", "account")
            for each in (of_campaign, of_contact)
        ]
    )
    return conform(
        touches.with_columns(
            kind=of_kind("campaign_response"),
            opportunity="linked",
            reach=pl.when("has_roles")
            .then("contact")
            .when(member_account != pl.col("account"))
            .then(member_account),
            explicit=pl.lit(value=False),
        )
    )


def campaign_partners(view: View, accounts: Accounts) -> pl.DataFrame:
    """``campaign, account``: what mapped fields of the campaign name, else its approved fund requests."""
    happened = view.cutoff.happened("CreatedDate")
    fields = [lookup.field for lookup in view.mapping.lookups_of("Campaign")]
    campaigns = view.live("Campaign", "Id", "CreatedDate", *fields).filter(happened)
    named = [campaigns.select(campaign="Id", account=accounts.resolve(field)) for field in fields]
    requests = (
        view.live("PartnerFundRequest", "CampaignId", "ChannelPartnerId", "Status", "CreatedDate")
        .filter(pl.col("Status").str.to_lowercase() == "approved", happened)
        .select(campaign="CampaignId", account=accounts.resolve("ChannelPartnerId"))
        .join(campaigns.select(campaign="Id"), on="campaign", how="semi")
    )
    if not named:
        return requests.drop_nulls().unique().collect()
    mapped = pl.concat(named).drop_nulls()
    rest = requests.join(mapped, on="campaign", how="anti")
    return pl.concat([mapped, rest]).drop_nulls().unique().collect()


def contact_roles(scene: Scene) -> pl.LazyFrame:
    """Contact roles of contacts whose account is a partner: weak."""
    rows = scene.view.live(
        "OpportunityContactRole", "Id", "OpportunityId", "ContactId", "CreatedDate", "CreatedById", "Role"
    ).with_columns(contact=scene.accounts.resolve("ContactId"))
    return conform(
        rows.join(scene.contacts_of_partners(), on="contact", how="inner").with_columns(
            record="Id",
            occurred_at=pl.col("CreatedDate").cast(INSTANT),
            recorded_at="CreatedDate",
            kind=of_kind("contact_role"),
            strength=pl.lit(WEAK),
            opportunity="OpportunityId",
            explicit=pl.lit(value=False),
            recorded_by="CreatedById",
            role="Role",
        )
    )


def deals_of_contacts(view: View, accounts: Accounts, opportunities: pl.DataFrame) -> pl.DataFrame:
    """``contact, opportunity``: live, not excluded deals on which a contact has a role recorded by as_of."""
    deals = opportunities.lazy().filter(~pl.col("excluded")).select(opportunity="id")
    return (
        view.live("OpportunityContactRole", "OpportunityId", "ContactId", "CreatedDate")
        .filter(view.cutoff.happened("CreatedDate"))
        .select(contact=accounts.resolve("ContactId"), opportunity="OpportunityId")
        .join(deals, on="opportunity", how="semi")
        .join(view.live("Contact", "Id"), left_on="contact", right_on="Id", how="semi")
        .unique()
        .collect()
    )
