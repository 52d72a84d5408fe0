"""From evidence to deals: named ones, and the account rule (RULES 4.2); whose own deal it is (3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from attribution.columns import KINDS, Flag
from attribution.derive.eligible import Eligible
from attribution.derive.touchpoints import Scene

__all__ = ["Places", "once", "places"]

Ints = NDArray[np.int64]

_LATE = 14 * 86_400_000_000
"""Microseconds between an act and its record from which it is flagged ``logged_late`` (4.1)."""
_PRECEDENCE = ("partner_owned", "sourced_by", "referral", "deal_registration", "role", "handed_over")
"""Of what one record says of one partner, the first of these is its touchpoint (4.1)."""


def once(evidence: pl.DataFrame) -> pl.DataFrame:
    """Keep one touchpoint per record and partner, where several fields of a record name the same partner."""
    repeated = evidence.select(pl.struct("record", "partner").is_duplicated()).to_series()
    if not repeated.any():
        return evidence
    order = {KINDS.index(kind): rank for rank, kind in enumerate(_PRECEDENCE)}
    rank = pl.col("kind").replace_strict(order, default=len(order), return_dtype=pl.Int64)
    several = evidence.filter(repeated).sort(rank, "occurred_at", maintain_order=True)
    first = several.unique(["record", "partner"], keep="first", maintain_order=True)
    return pl.concat([evidence.filter(~repeated), first])


@dataclass(frozen=True, slots=True)
class Places:
    """Where evidence can go: the deals, who owns them, and of which family of accounts they are."""

    scene: Scene
    deals: pl.DataFrame
    """Deals in the order of their positions, ``deal``."""
    named: pl.DataFrame
    """``opportunity, deal`` (null if excluded), ``owner`` (null unless internal)."""
    groups: pl.DataFrame
    """``reach, group``: accounts, and contacts with roles, that the account rule can go by."""
    eligible: Eligible
    family_of_deal: Ints
    family_of_partner: Ints

    def name(self, evidence: pl.LazyFrame) -> pl.DataFrame:
        """Add ``deal`` and ``by_owner`` to evidence that names its opportunity.

        What names an excluded opportunity is left out.
        """
        named = pl.col("opportunity").is_not_null()
        return (
            evidence.join(self.named.lazy(), on="opportunity", how="left")
            .filter(~pl.col("excluded").fill_null(value=False))
            .with_columns(
                named=named,
                by_owner=(pl.col("recorded_by") == pl.col("owner")).fill_null(value=False),
                recorded_by=pl.when(~named).then("recorded_by"),
            )
            .drop("opportunity", "owner", "excluded")
            .collect()
        )

    def attach(self, evidence: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Bring named evidence to its deals, and the rest by the account rule.

        Returns
        -------
        touchpoints
            Evidence with ``deal``, ``flags``, and where the account rule chose, ``reach_from, reach_below``.
        stranded
            Evidence that reached no deal, with ``ambiguous``.
        """
        here = evidence.filter(pl.col("deal").is_not_null())
        # an opportunity that is deleted or not yet created leaves its evidence an orphan
        gone = evidence.filter("named", pl.col("deal").is_null()).with_columns(ambiguous=pl.lit(value=False))
        asked = evidence.filter(~pl.col("named"))
        always = {name: pl.lit(None, pl.Int64) for name in ("reach_from", "reach_below")}
        reached, lost = self._account_rule(asked)
        touchpoints = pl.concat([here.with_columns(**always), reached])
        stranded = pl.concat([rows.select(*evidence.columns, "ambiguous") for rows in (lost, gone)])
        flags = self._flags(touchpoints)
        return touchpoints.with_columns(flags=pl.Series(flags, dtype=pl.UInt8)), stranded

    def _account_rule(self, evidence: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """A touch of an account, or of a contact with roles, reaches a deal only if exactly one is eligible.

        How early before its creation a deal is eligible is the policy's influence window, which deriving does
        not know. So each touch keeps the deal that needs the shortest window, with that window
        (``reach_from``) and the one from which a second deal is eligible too (``reach_below``).
        """
        rows = evidence.drop("deal")
        group = rows.join(self.groups, on="reach", how="left", maintain_order="left")["group"]
        asked = np.flatnonzero(group.is_not_null().to_numpy())
        deal, reach_from, reach_below = np.full((3, len(rows)), -1, dtype=np.int64)
        deal[asked], reach_from[asked], reach_below[asked] = self.eligible.nearest(
            group.gather(asked).to_numpy().astype(np.int64),
            rows["occurred_at"].dt.epoch("us").gather(asked).to_numpy(),
        )
        owner = self.deals["owner"].gather(pl.Series(np.maximum(deal, 0))) if len(self.deals) else None
        recorded_by = rows["recorded_by"]
        internal = self.scene.people.internal["user"].implode()
        found = rows.with_columns(
            deal=pl.Series(deal, dtype=pl.Int32),
            reach_from=pl.Series(reach_from),
            reach_below=pl.Series(reach_below),
            by_owner=((recorded_by == owner) & recorded_by.is_in(internal)).fill_null(value=False)
            if owner is not None
            else pl.lit(value=False),
        )
        unique = (pl.col("deal") >= 0) & (pl.col("reach_from") < pl.col("reach_below"))
        lost = found.filter(~unique).with_columns(ambiguous=pl.col("deal") >= 0)
        return found.filter(unique).select(*evidence.columns, "reach_from", "reach_below"), lost

    def _flags(self, rows: pl.DataFrame) -> NDArray[np.uint8]:
        """The facts of each touchpoint as bits: strength, own deal (3.3), late, linked, by whom, sourcing."""
        deal, partner = rows["deal"].to_numpy(), rows["partner"].to_numpy()
        own = self.family_of_deal[deal] == self.family_of_partner[partner]
        explicit = rows["explicit"].to_numpy()
        late = (rows["recorded_at"] - rows["occurred_at"]).dt.total_microseconds().abs() > _LATE
        flags: NDArray[np.uint8] = rows["strength"].to_numpy().copy()
        for holds, bit in (
            (own & ~explicit, Flag.OWN_ACCOUNT),
            (own & explicit, Flag.SELF_DEAL),
            (late.fill_null(value=False).to_numpy(), Flag.LOGGED_LATE),
            (rows["named"].to_numpy(), Flag.LINKED),
            (rows["by_owner"].to_numpy(), Flag.BY_OWNER),
            (rows["sourcing"].fill_null(value=False).to_numpy(), Flag.SOURCING),
        ):
            flags |= holds.astype(np.uint8) << np.uint8(bit.bit_length() - 1)
        return flags


def places(scene: Scene, deals: pl.DataFrame) -> Places:
    """Look at the deals, in the order of ``deal``, as places for evidence."""
    internal = scene.people.internal.select("user", inside=pl.lit(value=True))
    owner = pl.when("inside").then(pl.col("owner"))
    named = (
        scene.opportunities.select("id", "owner", "excluded")
        .join(deals.select("id", "deal"), on="id", how="left")
        .join(internal, left_on="owner", right_on="user", how="left")
        .select("deal", "excluded", opportunity="id", owner=owner)
    )
    families = scene.accounts.live.select("family").unique().with_row_index("code")
    of_account = scene.accounts.live.select("id", "family").join(families, on="family", how="left")
    of_deal = deals.select("account").join(
        of_account, left_on="account", right_on="id", how="left", maintain_order="left"
    )
    of_partner = scene.partners.codes.join(families, on="family", how="left", maintain_order="left")
    within = _within(scene, deals)
    groups = within.select("reach").unique().with_row_index("group")
    within = within.join(groups, on="reach", how="left")
    columns = (
        within[name].to_numpy().astype(np.int64) for name in ("group", "deal", "created_at", "ends_at")
    )
    return Places(
        scene,
        deals,
        named,
        groups,
        Eligible(*columns),
        # a deal without an account is of no family, and of no partner's
        of_deal["code"].cast(pl.Int64).fill_null(-1).to_numpy(),
        of_partner["code"].cast(pl.Int64).to_numpy(),
    )


def _within(scene: Scene, deals: pl.DataFrame) -> pl.DataFrame:
    """Deals that the account rule can choose, by their account and by the contacts with a role on them."""
    eligible = deals.filter(pl.col("deal_type") != "renewal").select(
        "id",
        "account",
        "deal",
        "created_at",
        ends_at=pl.col("closed_at").dt.epoch("us").fill_null(scene.view.cutoff.as_of),
    )
    by_contact = scene.deals_of_contacts.join(eligible, left_on="opportunity", right_on="id", how="inner")
    span = ("deal", "created_at", "ends_at")
    return pl.concat(
        [
            eligible.select(*span, reach="account").drop_nulls("reach"),
            by_contact.select(*span, reach="contact"),
        ]
    ).with_columns(pl.col("created_at").dt.epoch("us"))
