"""Audit: evidence to look at before a number is believed, and the money that hangs on it."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from attribution import money
from attribution.columns import Bools
from attribution.deals import Deals
from attribution.measures.findings import after_direct, clusters, records, self_approved, unattributed
from attribution.measures.measure import measured
from attribution.measures.results import Row, Table, heading, pandas_itself, plain
from attribution.measures.scope import RAW, Scope
from attribution.measures.strays import dangling, duplicates, stranded

if TYPE_CHECKING:
    import pandas

__all__ = ["FINDINGS", "Audit", "audit"]

FINDINGS: Final = (
    *("logged_late", "backdated", "clustered", "set_after_close", "self_approved"),
    *("registered_after_direct", "unattributed", "ambiguous", "orphan", "self_deal"),
    *("duplicate_partner", "merged_record", "deleted_record"),
)
"""Kinds of finding, in the order in which they are shown."""
_EXAMINATIONS: Final = (
    *(records, clusters, self_approved, after_direct),
    *(unattributed, stranded, duplicates, dangling),
)
_SHOWN: Final = 50
"""Findings that people are shown unless they ask for more."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Audit:
    """What was found, one row per finding in ``findings``; kinds and amounts in ``summary``.

    A finding is a question, not a verdict: most late records are late for a good reason.
    """

    summary: Table
    """A row per kind that was examined: findings, deals, partners, the amount of those deals, each once."""
    findings: pl.DataFrame
    """``kind, deal_id, partner, partner_id, evidence`` (object:record:partner), ``occurred_at, recorded_at,
    amount, other_id`` (the second partner, opportunity or record), ``score, finding``, a sentence."""
    not_examined: dict[str, str]
    """By kind: what could not be looked at, and why. No finding of such a kind means nothing."""

    def __len__(self) -> int:
        return len(self.findings)

    def to_dict(self) -> dict[str, Any]:
        """The JSON document: ``summary``, ``findings`` and ``not_examined``; amounts as decimal strings."""
        document = self.summary.to_dict()
        document["summary"] = document.pop("rows")
        document |= {"findings": plain(self.findings.to_dicts()), "not_examined": self.not_examined}
        return document

    def to_polars(self) -> pl.DataFrame:
        """The findings as a polars frame; amounts are of type decimal."""
        return self.findings

    def to_pandas(self) -> pandas.DataFrame:
        """The findings as a pandas frame; amounts are ``Decimal`` objects.

        Raises
        ------
        UsageError
            If pandas is not installed.
        """
        values = {name: self.findings[name].to_list() for name in self.findings.columns}
        frame: pandas.DataFrame = pandas_itself().DataFrame(values)
        return frame

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.findings.__arrow_c_stream__(requested_schema)

    def to_csv(self, path: str | Path | None = None) -> str:
        """The findings as comma-separated text, also written to ``path`` if given."""
        text = self.findings.write_csv()
        if path is not None:
            Path(path).write_text(text, encoding="utf-8", newline="")
        return text

    def to_parquet(self, path: str | Path) -> None:
        """Write the findings to a Parquet file."""
        self.findings.write_parquet(path)

    def to_text(self, rows: int | None = _SHOWN) -> str:
        """The summary, what was not examined, and so many findings (None: all) as text for people."""
        lines = [self.summary.to_text()]
        if self.not_examined:
            wide = max(map(len, self.not_examined))
            lines += ["", "not examined"]
            lines += [f"{kind.ljust(wide)}  {reason}" for kind, reason in self.not_examined.items()]
        shown = self._first(rows)
        if len(shown):
            lines.append("")
        what = pl.coalesce("deal_id", "evidence")
        for parts in shown.select("kind", what, "partner", "finding").iter_rows():
            lines.append(": ".join(part for part in parts if part))
        if len(shown) < len(self.findings):
            lines.append(f"… and {len(self.findings) - len(shown):,} more; files have all of them")
        return "\n".join(lines)

    def _first(self, rows: int | None) -> pl.DataFrame:
        """So many findings (None: all), about as many of each kind, so that no kind hides another."""
        if rows is None or len(self.findings) <= rows:
            return self.findings
        of_kind = pl.int_range(pl.len()).over("kind")
        return (
            self.findings.with_row_index("place")
            .sort(of_kind, "place")
            .head(rows)
            .sort("place")
            .drop("place")
        )

    def __str__(self) -> str:
        return self.to_text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        shown = self._first(_SHOWN)
        head = "".join(f"<th>{escape(name)}</th>" for name in shown.columns)
        body = "".join(
            f"<tr>{''.join(f'<td>{escape(_cell(value))}</td>' for value in row)}</tr>"
            for row in shown.iter_rows()
        )
        left_out = "".join(
            f"<li>{escape(kind)}: {escape(reason)}</li>" for kind, reason in self.not_examined.items()
        )
        return (
            f"{self.summary._repr_html_()}<ul>{left_out}</ul>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )


def audit(deals: Deals, *, of: str = "won") -> Audit:
    """Look for evidence that is late, arranged, contradictory or lost, and say how much money hangs on it.

    Parameters
    ----------
    deals
        The selected ones are examined, under the policy that ``deals`` carries. Evidence that reached no
        deal, and partners that look alike, are of no deal: they are looked for whatever is selected.
    of
        ``"won"``, ``"open"``, ``"lost"`` or ``"all"``.

    Returns
    -------
    The findings, with ``.summary``, a table by kind, and ``.not_examined``. *Evidence* is what ties a partner
    to a deal: strong or weak touchpoints, not rejected, not on the partner's own account, not handed over.

    ``logged_late``
        recorded more than 14 days after it happened
    ``backdated``
        dated before the close, recorded after it
    ``clustered``
        an unusual part of a partner's evidence lies in the last ``late_days`` before closes. ``score`` is the
        probability of so many there, were the evidence of all partners dealt out by chance (Fisher's exact
        test, one-sided); shown if, times the number of partners, it is below 1 %
    ``set_after_close``
        a role, a lookup, a registration or sourcing evidence of your own put a partner on a closed deal
    ``self_approved``
        who approved a record is the user who wrote it
    ``registered_after_direct``
        when it was submitted, an opportunity of the account (or the deal itself) had been open, and no
        partner had done anything on it; renewals aside. ``other_id`` is that opportunity
    ``unattributed``
        evidence up to the close, but nobody sourced the deal, and no influence is approved
    ``ambiguous``, ``orphan``
        evidence that reached no deal: several were in reach, or none
    ``self_deal``
        a partner that is stated for a deal of its own account or family
    ``duplicate_partner``
        names alike (``score`` from 90 of 100) or the same web domain (100), of two families; a suggestion,
        nothing is merged
    ``merged_record``, ``deleted_record``
        evidence that names an account, deal, lead or contact, ``other_id``, that was merged or deleted

    Raises
    ------
    UsageError
        If ``of`` is none of these.

    Notes
    -----
    Fisher, R. A., *Statistical Methods for Research Workers*, 1925. Misleads where a partner's deals are few
    and its evidence on each is much: pieces of evidence on one deal are counted as if they were independent.

    Examples
    --------
    ::

        found = at.audit(deals)
        found.summary
        found.findings.filter(kind="backdated")
        found.to_csv("audit.csv")
    """
    scope = Scope(deals, measured(deals, of))
    frames, at_stake, missing = [], dict[str, Bools](), dict[str, str]()
    for examine in _EXAMINATIONS:
        for kind, frame, stake, note in examine(scope):
            if note is not None:
                missing[kind] = note
            if frame is not None:
                frames.append(frame.select(pl.col(name).cast(kind) for name, kind in RAW.items()))
                at_stake[kind] = stake
    raw = pl.concat(frames) if frames else pl.DataFrame(schema=RAW)
    return Audit(
        _summary(scope, of, raw, at_stake),
        _told(scope, raw),
        {k: missing[k] for k in FINDINGS if k in missing},
    )


def _told(scope: Scope, raw: pl.DataFrame) -> pl.DataFrame:
    """The findings for people: names for codes, decimals for minor units."""
    snapshot = scope.deals.snapshot
    digits = money.digits(scope.deals.currency)
    ids = (
        pl.Series(snapshot.deals.id).cast(pl.String)
        if len(snapshot.deals)
        else pl.Series([], dtype=pl.String)
    )
    deal = pl.when(pl.col("deal") >= 0).then("deal")
    order = pl.col("kind").cast(pl.Enum(FINDINGS))
    amounts = [None if minor is None else money.major(minor, scope.deals.currency) for minor in raw["minor"]]
    return (
        raw.with_columns(
            deal_id=ids.gather(raw.select(deal).to_series()) if len(ids) else pl.lit(None, pl.String),
            partner_id=scope.partners_of(pl.col("partner"), "id"),
            amount=pl.Series(amounts, dtype=pl.Decimal(38, digits)),
        )
        .sort(order, deal, "occurred_at", "evidence", "partner", "other_id", nulls_last=True)
        .select(
            "kind",
            "deal_id",
            scope.partners_of(pl.col("partner")).alias("partner"),
            *(
                "partner_id",
                "evidence",
                "occurred_at",
                "recorded_at",
                "amount",
                "other_id",
                "score",
                "finding",
            ),
        )
    )


def _summary(scope: Scope, of: str, raw: pl.DataFrame, at_stake: dict[str, Bools]) -> Table:
    """Findings by kind; each deal once per kind, and once in the foot."""
    amount, currency = scope.deals.snapshot.deals.amount, scope.deals.currency
    counted = {
        kind: (n, partners)
        for kind, n, partners in raw.group_by("kind")
        .agg(n=pl.len(), partners=pl.col("partner").filter(pl.col("partner") >= 0).n_unique())
        .iter_rows()
    }
    rows: list[Row] = []
    for kind in FINDINGS:
        if kind in at_stake:
            n, partners = counted.get(kind, (0, 0))
            stake = at_stake[kind]
            rows.append(
                {
                    "kind": kind,
                    "n_findings": n,
                    "n_deals": int(stake.sum()),
                    "n_partners": partners,
                    "amount": money.major(money.total(amount[stake]), currency),
                }
            )
    everything = np.logical_or.reduce([np.zeros(len(scope.chosen), dtype=bool), *at_stake.values()])
    foot = {
        "n_findings": len(raw),
        "at_stake_amount": money.major(money.total(amount[everything]), currency),
        "selected": money.major(money.total(amount[scope.positions]), currency),
        "n_deals": len(scope.positions),
    }
    columns = ("kind", "n_findings", "n_deals", "n_partners", "amount")
    return Table(heading(scope.deals, of, measure="audit"), ("kind",), columns, rows, foot)


def _cell(value: object) -> str:
    return "" if value is None else str(plain(value))
