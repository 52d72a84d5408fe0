"""What-if: the numbers of each policy, and what each rule moves; the slow truth is the judge."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution import Deals, Policy, UsageError, influenced, sourced, waterfall, what_if
from attribution.columns import to_micros
from attribution.derive import derive
from attribution.measures.sensitivity import BASE, CLAIMED, HEADLINES, TOGETHER
from attribution.testing.synthetic import generate
from attribution.testing.truth import Rules, Truth, table, totals
from tests.notation import path
from tests.records import MemoryRecords

SMALL = path(
    "ann:referral@-5 bob@3 won@10 100.00 USD",
    # set too late to source under 3 days, it influences, approved by the owner, but only if early enough
    "dan:sourced_by@5+owner won@30 40.00 USD",
)
MONEY = {each: Decimal(each) for each in ("0.00", "-40.00", "40.00", "100.00", "140.00")}


def test_by_hand():
    found = what_if(SMALL, {"strict": Policy(claim_days=3, late_days=26), "late": Policy(late_days=26)})
    assert [(row["policy"], row["sourced_amount"], row["influenced_amount"]) for row in found.rows] == [
        (BASE, MONEY["140.00"], MONEY["0.00"]),
        ("strict", MONEY["100.00"], MONEY["0.00"]),
        ("late", MONEY["140.00"], MONEY["0.00"]),
    ]
    zero, minus, plus = MONEY["0.00"], MONEY["-40.00"], MONEY["40.00"]
    # sourced, influenced, influenced step, unqualified, exposed, direct
    assert [tuple(row.values()) for row in found.rules.rows] == [
        ("strict", "late_days", "7", "26", *[zero] * 6),
        ("strict", "claim_days", "14", "3", minus, plus, plus, zero, zero, zero),
        ("strict", TOGETHER, None, None, zero, minus, minus, plus, zero, zero),
        ("late", "late_days", "7", "26", *[zero] * 6),
    ]
    assert [row["unqualified_amount"] for row in found.rows] == [zero, plus, zero]
    assert found.foot["sourced_band_amount"] == MONEY["40.00"]
    assert found.foot["influenced_highest_amount"] == MONEY["0.00"]
    per = found.per("partner")
    # bob has a claim that nobody approved: no amount under any policy
    bands = {row["partner"]: row["band_amount"] for row in per.rows}
    assert bands == {"dan": MONEY["40.00"], "ann": MONEY["0.00"], "bob": MONEY["0.00"]}


def test_the_slow_truth_agrees_policy_by_policy():
    org = generate(600, 5)
    reads = MemoryRecords((org.now, org.records))
    snapshot = derive(reads, org.mapping, as_of=to_micros(org.now), watermark=to_micros(org.now))
    varied = Policy().varied(
        influence_window_days=[30], late_days=[60], claim_days=[0], registration_grace_days=[0]
    )
    strict = Policy(influence_window_days=30, late_days=60)
    found = what_if(Deals(snapshot, Policy()), varied | {"strict": strict}, of="all")
    partners: dict[str, dict[str, list[str]]] = {name: {} for name in CLAIMED}
    for row, policy in zip(found.rows, [Policy(), *varied.values(), strict], strict=True):
        truth = org.truth(as_of=org.now, policy=Rules(**_days(policy)))
        steps = _steps(truth)
        assert {name: int(row[f"{name}_amount"].scaleb(2)) for name in steps} == steps
        for name in CLAIMED:
            assert str(row[f"{name}_amount"]) == totals(truth, name, of="all")["total"]
            for each in table(truth, name, ("partner",), of="all"):
                partners[name].setdefault(each["partner_id"], []).append(each["amount"])
    for row in found.per("partner").rows:
        for name in CLAIMED:
            given = [Decimal(amount) for amount in partners[name].get(row["partner_id"], [])]
            given += [Decimal(0)] * (len(given) < len(found.rows))
            assert (row[f"{name}_lowest_amount"], row[f"{name}_highest_amount"]) == (min(given), max(given))
    assert len({row["influenced_amount"] for row in found.rows}) >= 3  # else nothing was tried


def _steps(truth: Truth) -> dict[str, int]:
    """The waterfall of all deals, read off each of them, in minor units."""
    steps = dict.fromkeys(("sourced", "influenced_step", "unqualified", "exposed", "direct"), 0)
    for deal in truth.deals.values():
        touched = {point.strength for point in deal.touchpoints if not point.own_account}
        if deal.sourced_partner_id is not None:
            step = "sourced"
        elif any(state in ("approved", "auto_approved") for _, state, _ in deal.influenced):
            step = "influenced_step"
        else:
            step = "unqualified" if "strong" in touched else "exposed" if touched else "direct"
        steps[step] += deal.amount_minor or 0
    return steps


def _days(policy: Policy) -> dict[str, int]:
    return {name: value for name, value in policy.model_dump().items() if name.endswith("_days")}


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                name: st.integers(0, 30) for name in ("influence_window_days", "late_days", "claim_days")
            },
        ).map(Policy.model_validate),
        min_size=1,
        max_size=4,
        unique=True,
    )
)
def test_the_rules_of_a_policy_add_up_to_its_change(policies):
    found = what_if(SMALL, dict(zip("abcd", policies, strict=False)))
    for row in found.rows[1:]:
        rules = [rule for rule in found.rules.rows if rule["policy"] == row["policy"]]
        for name in HEADLINES:
            changed = sum((rule[f"{name}_change_amount"] for rule in rules), Decimal(0))
            assert (
                changed
                == row[f"{name}_change_amount"]
                == row[f"{name}_amount"] - found.rows[0][f"{name}_amount"]
            )
            assert found.foot[f"{name}_lowest_amount"] <= row[f"{name}_amount"]
            assert row[f"{name}_amount"] <= found.foot[f"{name}_highest_amount"]
    for row, policy in zip(found.rows[1:], policies, strict=True):
        deals = SMALL.with_policy(policy)
        assert row["sourced_amount"] == sourced(deals).total()
        assert row["influenced_amount"] == influenced(deals).total()
        steps = {step["step"]: step["amount"] for step in waterfall(deals).rows}
        assert row["influenced_step_amount"] == steps.pop("influenced")
        assert all(row[f"{step}_amount"] == amount for step, amount in steps.items())
    for row in found.rows:
        parts = [row[f"{each}_amount"] for each in HEADLINES if each != "influenced"]
        assert sum(parts) == found.foot["selected"]


def test_it_is_a_table_like_any_other(tmp_path):
    found = what_if(SMALL, [Policy(late_days=26), Policy(void_by=())])
    assert [row["policy"] for row in found.rows] == [BASE, "late_days = 26", "void_by = []"]
    document = found.to_dict()
    assert [rule["rule"] for rule in document["rules"]] == ["late_days", "void_by"]
    assert document["rows"][0]["sourced_amount"] == "140.00"
    assert found.to_polars().height == len(found.to_pandas()) == 3
    found.rules.to_parquet(tmp_path / "rules.parquet")
    assert "late_days" in found.to_csv()
    assert document["rows"][0]["direct_amount"] == "0.00"
    text = str(found)
    assert "what_if rules" in text
    assert "unqualified      0.00 to 0.00, a band of 0.00" in text
    # what no rule moves, people are not shown
    assert "unqualified_change_amount" not in text
    assert "unqualified_change_amount" in found.rules.to_csv()
    assert found._repr_html_().count("<table>") == 2
    empty = SMALL.where(partner="bob").where(partner="dan")
    assert what_if(empty, [Policy(late_days=0)]).foot["selected"] == MONEY["0.00"]


@pytest.mark.parametrize(
    ("policies", "message"),
    [
        ([], "no policy to compare"),
        ({}, "no policy to compare"),
        ([{"late_days": 3}], "is no policy"),
        ({"late_days": [3]}, "is no policy"),
        ({BASE: Policy()}, "are called"),
        ([Policy(late_days=3), Policy(late_days=3)], "are called late_days = 3"),
    ],
)
def test_what_is_no_alternative(policies, message):
    with pytest.raises(UsageError, match=message):
        what_if(SMALL, policies)
