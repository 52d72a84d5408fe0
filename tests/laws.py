"""What must be true of every result, whatever the deals."""

from __future__ import annotations

from decimal import Decimal

import numpy as np

from attribution.measures.credit import Credit
from attribution.measures.evidence import counting


def check_credit(credit: Credit) -> None:
    """Parts and unattributed add up, per deal and at every grouping; nothing goes where it must not."""
    deals, cells = credit.deals, credit.cells
    columns, touchpoints = deals.snapshot.deals, deals.snapshot.touchpoints
    share, amount = cells.numbers["share"], cells.numbers["amount"]
    deal = deals.deal_of[cells.touchpoint]

    assert (share > 0).all()
    assert (share <= 1 + 1e-12).all()
    assert counting(deals)[cells.touchpoint].all()
    assert np.isin(deal, credit.measured).all()
    assert (touchpoints.occurred_at[cells.touchpoint] <= columns.closed_at[deal]).all()
    assert (np.sign(amount) * np.sign(columns.amount[deal]) >= 0).all()

    for position in credit.measured:
        mine = deal == position
        whole, parts = int(columns.amount[position]), [int(part) for part in amount[mine]]
        lost = 1 - float(share[mine].sum())
        if abs(lost) < 1e-9:
            assert sum(parts) == whole
        elif not parts:
            assert lost == 1
        of_deal = credit.of(columns.id[position].decode())
        assert of_deal.foot["total"] + of_deal.foot["unattributed"] == of_deal.foot["selected"]
        assert sum((row["amount"] for row in of_deal.rows), Decimal(0)) == of_deal.foot["total"]

    for names in (("partner",), ("program",), ("partner", "program"), ("program", "partner")):
        table = credit.by(*names)
        rows = sum((row["amount"] for row in table.rows), Decimal(0))
        assert rows == table.foot["total"] == credit.total()
        assert rows + table.foot["unattributed"] == table.foot["selected"] == credit.selected()
        assert (
            abs(sum(row["deals"] for row in table.rows) + table.remainder["deals"] - len(credit.measured))
            < 1e-6
        )
