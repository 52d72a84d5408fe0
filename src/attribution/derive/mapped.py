"""Touchpoints from objects that the mapping names: registrations, junction objects, overlaps (RULES 4)."""

from __future__ import annotations

import polars as pl

from attribution.arrays import INSTANT, day_end
from attribution.columns import APPROVALS, KINDS
from attribution.derive.partners import Accounts
from attribution.derive.schema import EVIDENCE, View, date_only
from attribution.derive.touchpoints import (
    EXPOSURE,
    STRONG,
    WEAK,
    Scene,
    campaign_partners,
    conform,
    converted,
    of_kind,
)
from attribution.mapping import Approval, Mapping, Touches, split_path
from attribution.readings import OVERLAPS, history_of

__all__ = ["instant_of", "kinds", "mapped", "named_accounts"]

_STRENGTHS = {"strong": STRONG, "weak": WEAK, "exposure": EXPOSURE}
_OF_KIND = {
    **dict.fromkeys(("campaign_response", "contact_role", "call", "email"), WEAK),
    **dict.fromkeys(("task", "overlap"), EXPOSURE),
}
"""Strengths of the kinds that the rules name; the others are strong."""
_ACTIVITIES = ("campaign_response", "contact_role", "meeting", "call", "email", "task")
"""Kinds that are no touchpoint on a partner's own deal (3.3); every other is an explicit statement."""


def mapped(scene: Scene) -> dict[str, list[pl.LazyFrame]]:
    """Evidence of each mapped object, and of the imported overlaps, by object."""
    sources: dict[str, list[pl.LazyFrame]] = {}
    for touches in scene.view.mapping.touchpoints:
        sources.setdefault(touches.object, []).append(_touches(scene, touches))
    sources.setdefault(OVERLAPS, []).append(_imported(scene))
    return sources


def kinds(mapping: Mapping) -> tuple[str, ...]:
    """Kinds of touchpoint in the order of their codes: those that the rules name, then the org's own."""
    return (*KINDS, *dict.fromkeys(each.kind for each in mapping.touchpoints if each.kind not in KINDS))


def named_accounts(view: View, accounts: Accounts, opportunities: pl.DataFrame) -> pl.DataFrame:
    """Accounts that a mapped partner field names (3.1): ``account``."""
    mapping = view.mapping
    named = [opportunities.select(account=lookup.field) for lookup in mapping.lookups_of("Opportunity")]
    happened = view.cutoff.happened("CreatedDate")
    named += [
        view.live("Lead", lookup.field, "CreatedDate").filter(happened).select(account=lookup.field).collect()
        for lookup in mapping.lookups_of("Lead")
    ]
    objects = [(each.object, each.partner) for each in mapping.touchpoints]
    objects += [(each.object, each.partner) for each in mapping.costs if each.partner is not None]
    named += [
        view.live(name, field, "CreatedDate").filter(happened).select(account=accounts.named(field)).collect()
        for name, field in objects
    ]
    named.append(campaign_partners(view, accounts).select("account"))
    named.append(view.live(OVERLAPS, "Partner").select(account="Partner").collect())
    return (
        pl.concat([each.cast(pl.String) for each in named])
        .drop_nulls()
        .unique()
        .select(account=accounts.resolve("account"))
        .unique()
    )


def _touches(scene: Scene, touches: Touches) -> pl.LazyFrame:
    """One mapped object, one touchpoint a record."""
    view, accounts = scene.view, scene.accounts
    approval = touches.approval
    paths = [
        *(touches.partner, touches.opportunity, touches.lead, touches.contact, touches.account),
        *(touches.occurred_at, touches.program, touches.expires_on),
        *((approval.field, approval.at) if approval else ()),
    ]
    rows = view.live(touches.object, "Id", "CreatedDate", "CreatedById", *(path for path in paths if path))
    rows = scene.of_partners(rows.with_columns(account=accounts.named(touches.partner)))
    schema = rows.collect_schema()
    strength = _STRENGTHS[touches.strength] if touches.strength else _OF_KIND.get(touches.kind, STRONG)
    rows = rows.with_columns(
        record="Id",
        occurred_at=instant_of(view, touches.occurred_at, schema).fill_null(pl.col("CreatedDate")),
        recorded_at="CreatedDate",
        recorded_by="CreatedById",
        kind=pl.lit(kinds(scene.view.mapping).index(touches.kind), pl.Int8),
        strength=pl.lit(strength),
        explicit=pl.lit(touches.kind not in _ACTIVITIES),
        program=scene.partners.program_named(touches.program) if touches.program else pl.lit(None, pl.String),
        sourcing=pl.lit(touches.sourcing and touches.kind not in KINDS),
        expires_at=_expiry(view, touches.expires_on, schema),
    )
    if approval is not None:
        rows = _approved(view, rows, touches.object, approval, schema)
    return conform(_reaching(scene, rows, touches))


def _reaching(scene: Scene, rows: pl.LazyFrame, touches: Touches) -> pl.LazyFrame:
    """How each record reaches its deal: by the first of opportunity, lead, contact, account that it has."""
    accounts = scene.accounts
    nothing = pl.lit(None, pl.String)
    opportunity = pl.col(touches.opportunity) if touches.opportunity else nothing
    reach = accounts.resolve(touches.account) if touches.account else nothing
    if touches.contact:
        people = scene.people.contacts.lazy().select(mapped_contact="contact", contact_account="account")
        with_roles = scene.deals_of_contacts.lazy().select(
            mapped_contact="contact", has_roles=pl.lit(value=True)
        )
        rows = (
            rows.with_columns(mapped_contact=accounts.resolve(touches.contact))
            .join(people, on="mapped_contact", how="left")
            .join(with_roles.unique(), on="mapped_contact", how="left")
        )
        by_contact = pl.when("has_roles").then("mapped_contact").otherwise("contact_account")
        reach = pl.when(pl.col("mapped_contact").is_not_null()).then(by_contact).otherwise(reach)
    if touches.lead:
        lead = converted(scene.view, accounts).select(
            mapped_lead="record",
            lead_opportunity="opportunity",
            lead_account="reach",
            led=pl.lit(value=True),
        )
        rows = rows.with_columns(mapped_lead=accounts.resolve(touches.lead)).join(
            lead, on="mapped_lead", how="left"
        )
        has_lead = pl.col("mapped_lead").is_not_null()
        # a lead that was not converted has led nowhere yet
        rows = rows.filter(opportunity.is_not_null() | ~has_lead | pl.col("led"))
        reach = pl.when(has_lead).then("lead_account").otherwise(reach)
        opportunity = pl.coalesce(opportunity, "lead_opportunity")
    return rows.with_columns(opportunity=opportunity).with_columns(
        reach=pl.when(pl.col("opportunity").is_null()).then(reach)
    )


def _approved(
    view: View, rows: pl.LazyFrame, object: str, approval: Approval, schema: pl.Schema
) -> pl.LazyFrame:
    """Add what the mapped field said as of the instant, and since when it said "approved" (RULES 5).

    The mapped date tells, else the field's history where it ends with what the record says now, else the
    stored versions, of which the first has held since the record was created.
    """
    present = _said(pl.col(approval.field), approval)
    state = rows.select("record", present=present)
    # a record that nobody has touched since was approved by who made it; what others did has no author here
    at_once = pl.col("SystemModstamp") == pl.col("CreatedDate")
    versions = view.versions(object, approval.field, "SystemModstamp", "CreatedDate", "CreatedById").select(
        record="Id",
        by=pl.when(at_once).then("CreatedById"),
        at=pl.when(pl.col("Id") != pl.col("Id").shift(1, fill_value=""))
        .then("CreatedDate")
        .otherwise("SystemModstamp"),
        said=present,
    )
    steps = versions
    if approval.at is None:
        parent = "ParentId" if object.endswith("__c") else f"{object}Id"
        changes = (
            view.live(history_of(object), "Id", parent, "Field", "NewValue", "CreatedDate", "CreatedById")
            .filter(pl.col("Field") == split_path(approval.field)[0])
            .sort(parent, "CreatedDate", "Id")
            .select(
                record=parent, by="CreatedById", at="CreatedDate", said=_said(pl.col("NewValue"), approval)
            )
        )
        last = changes.group_by("record").agg(last=pl.col("said").last())
        told = last.join(state, on="record", how="inner").filter(pl.col("last") == pl.col("present"))
        steps = pl.concat(
            [changes.join(told, on="record", how="semi"), versions.join(told, on="record", how="anti")]
        )
    turn = (pl.col("said") != pl.col("said").shift(1)).fill_null(value=True).cum_sum()
    current = turn == turn.last()
    reached = (
        steps.filter(view.cutoff.happened("at"))
        .group_by("record", maintain_order=True)
        .agg(
            said=pl.col("said").last(),
            since=pl.col("at").filter(current).first(),
            said_by=pl.col("by").filter(current).first(),
        )
    )
    approved, pending = (pl.lit(APPROVALS.index(name), pl.Int8) for name in ("approved", "pending"))
    given = pl.lit(None, INSTANT) if approval.at is None else instant_of(view, approval.at, schema)
    dated = (present == approved) & given.is_not_null()
    in_time = given.dt.epoch("us") <= view.cutoff.as_of
    return (
        rows.join(reached, on="record", how="left")
        .with_columns(
            approval=pl.when(dated)
            .then(pl.when(in_time).then(approved).otherwise(pending))
            .otherwise(pl.col("said").fill_null(pending)),
            approved_at=pl.when(dated).then(given).otherwise("since"),
        )
        .with_columns(
            approved_at=pl.when(pl.col("approval") == approved).then("approved_at"),
            self_approved=pl.when(pl.col("approval") == approved, pl.col("said") == approved).then(
                pl.col("said_by") == pl.col("recorded_by")
            ),
        )
    )


def _said(value: pl.Expr, approval: Approval) -> pl.Expr:
    """Code into ``APPROVALS`` of a status, ignoring case; a status that is not mapped says nothing."""
    text = value.cast(pl.String).str.to_lowercase()
    code = pl.lit(APPROVALS.index("none"), pl.Int8)
    for name in ("pending", "approved", "rejected"):
        listed = [each.lower() for each in getattr(approval, name)]
        code = pl.when(text.is_in(listed)).then(pl.lit(APPROVALS.index(name), pl.Int8)).otherwise(code)
    return code


def instant_of(view: View, path: str, schema: pl.Schema) -> pl.Expr:
    """A mapped date or instant as an instant."""
    if schema[path] == pl.Date:
        return date_only(pl.col(path), view.cutoff.zone)
    return _moment(path, schema)


def _expiry(view: View, path: str | None, schema: pl.Schema) -> pl.Expr:
    """When a record holds no more: a mapped date lasts to the end of its day, an instant is its last."""
    if path is None:
        return pl.lit(None, INSTANT)
    if schema[path] == pl.Date:
        return day_end(pl.col(path), view.cutoff.zone)
    return _moment(path, schema) + pl.duration(microseconds=1)


def _moment(path: str, schema: pl.Schema) -> pl.Expr:
    return pl.col(path).cast(INSTANT) if schema[path].is_temporal() else pl.lit(None, INSTANT)


def _imported(scene: Scene) -> pl.LazyFrame:
    """Overlaps imported from a file: exposure, by the account rule."""
    view, accounts = scene.view, scene.accounts
    if view.records.newest(OVERLAPS) is None:
        return pl.LazyFrame(schema=EVIDENCE)
    rows = view.live(OVERLAPS, "Id", "Partner", "Account", "OccurredOn", "CreatedDate").with_columns(
        account=accounts.resolve("Partner")
    )
    return conform(
        scene.of_partners(rows).with_columns(
            record="Id",
            occurred_at=date_only(pl.col("OccurredOn").cast(pl.Date), view.cutoff.zone),
            recorded_at="CreatedDate",
            kind=of_kind("overlap"),
            strength=pl.lit(EXPOSURE),
            reach=accounts.resolve("Account"),
            explicit=pl.lit(value=True),
        )
    )
