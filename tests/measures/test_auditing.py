"""Audit: each kind by hand, and all of them against the known truth of generated orgs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest

from attribution import Deals, Policy, UsageError, audit
from attribution.columns import Party, to_micros
from attribution.derive import derive
from attribution.measures.auditing import FINDINGS
from attribution.measures.likeness import alike
from attribution.testing.synthetic import generate
from tests.measures.audit_oracle import expected
from tests.notation import path
from tests.records import MemoryRecords


def kinds(found, kind):
    """``deal, partner`` of the findings of a kind."""
    return list(found.findings.filter(kind=kind).select("deal_id", "partner").iter_rows())


@pytest.mark.parametrize(
    ("kind", "deals", "found"),
    [
        ("logged_late", ["ann@1+recorded=15 won@30", "ann@1+recorded=15.01 won@30"], [("D2", "ann")]),
        ("logged_late", ["ann@20+recorded=1 won@30", "ann@1+exposure+recorded=20 won@30"], []),
        ("backdated", ["ann@9+recorded=10 won@10", "ann@9+recorded=10.01 won@10"], [("D2", "ann")]),
        ("backdated", ["ann@11+recorded=12 won@10", "ann@1+rejected+recorded=12 won@10"], []),
        ("set_after_close", ["ann:role@10 won@10", "ann:role@11 won@10", "ann@11 won@10"], [("D2", "ann")]),
        ("set_after_close", ["ann:intro@11+sourcing won@10", "ann:intro@11 won@10"], [("D1", "ann")]),
        ("self_deal", ["ann:role@1+self won@10", "ann@1+own won@10"], [("D1", "ann")]),
        # the deal itself was open, and nobody had acted on it
        ("registered_after_direct", ["ann:deal_registration@1 won@10"], [("D1", "ann")]),
        ("registered_after_direct", ["ann:deal_registration@0 won@10"], []),
        ("registered_after_direct", ["bob@0.5 ann:deal_registration@1 won@10"], []),
        ("registered_after_direct", ["bob@0.5+exposure ann:deal_registration@1 won@10"], [("D1", "ann")]),
        ("registered_after_direct", ["ann:deal_registration@1 won@10 type=renewal"], []),
        # another one of the account was
        (
            "registered_after_direct",
            ["ann:deal_registration@0 won@10 account=x", "created@-9 lost@0.1 account=x"],
            [("D1", "ann")],
        ),
        (
            "registered_after_direct",
            ["ann:deal_registration@0 won@10 account=x", "created@-9 lost@0 account=x"],
            [],
        ),
        (
            "registered_after_direct",
            ["ann:deal_registration@0 won@10 account=x", "created@0 lost@5 account=x"],
            [],
        ),
        ("unattributed", ["ann@1+weak won@10", "ann@1+owner won@10", "won@10"], [("D1", "ann")]),
        ("unattributed", ["ann@1 bob@2 won@10", "ann@11 won@10", "ann:referral@-1 won@10"], [("D1", None)]),
    ],
)  # fmt: skip
def test_by_hand(kind, deals, found):
    assert kinds(audit(path(*deals)), kind) == found


def test_amounts_are_of_each_deal_once():
    deals = path(
        "ann@1+recorded=40 bob@2+recorded=40 won@30 100.00 USD",
        "ann@1+recorded=40 won@30 7.00 USD",
        "ann@1+recorded=40 lost@30 900.00 USD",
        "cat@1+owner won@30 5.00 USD",
    )
    found = audit(deals)
    rows = {row["kind"]: row for row in found.summary.rows}
    assert rows["logged_late"] == {
        "kind": "logged_late", "n_findings": 3, "n_deals": 2, "n_partners": 2, "amount": Decimal("107.00"),
    }  # fmt: skip
    assert rows["backdated"]["amount"] == found.summary.foot["at_stake_amount"] == Decimal("107.00")
    assert found.summary.foot["selected"] == Decimal("112.00")
    assert audit(deals, of="lost").findings["amount"].unique().to_list() == [Decimal("900.00")]
    assert len(audit(deals.where(partner="cat"))) == 0
    with pytest.raises(UsageError, match="no 'both' deals"):
        audit(deals, of="both")


def test_an_unusual_part_in_the_last_days_is_told_with_its_baseline():
    early = [f"bob@{day} won@40 1.00 USD" for day in range(30)]
    late = ["ann@38 won@40 2.00 USD"] * 4 + ["ann@3 won@40 2.00 USD"]
    (row,) = audit(path(*early, *late)).findings.filter(kind="clustered").to_dicts()
    # of 35 pieces 4 are late, all among ann's 5: C(5, 4) / C(35, 4)
    assert row["score"] == pytest.approx(5 / 52_360)
    assert row["amount"] == Decimal("8.00")
    assert "4 of 5 pieces of evidence (80.0%)" in row["finding"]
    assert "of the other partners' 0.0%" in row["finding"]
    # one partner alone has nothing to be held against
    assert not kinds(audit(path(*late)), "clustered")


def test_what_the_crm_does_not_tell_is_not_examined():
    tables = (
        {
            "id": ["d"],
            "created_at": ["2026-01-01T00:00Z"],
            "closed_at": ["2026-03-01T00:00Z"],
            "is_won": [True],
        },
        {"deal_id": ["d"], "occurred_at": ["2026-02-01T00:00Z"], "partner": ["Globex"]},
    )
    as_of = datetime(2026, 6, 1, tzinfo=UTC)
    bare = audit(Deals.from_frames(*tables, as_of=as_of))
    assert set(bare.not_examined) == {
        *("logged_late", "backdated", "self_approved", "registered_after_direct", "self_deal"),
        *("ambiguous", "orphan", "duplicate_partner", "merged_record", "deleted_record"),
    }
    examined = {row["kind"] for row in bare.summary.rows}
    assert examined == {
        "clustered",
        "set_after_close",
        "unattributed",
        "registered_after_direct",
        "duplicate_partner",
    }
    tables[0]["account_id"] = ["a"]
    tables[1].update({
        "partner": ["Globex, Inc."], "website": ["globex.example"], "recorded_at": ["2026-04-01T00:00Z"],
        "kind": ["deal_registration"], "approval": ["approved"], "recorded_by": ["u"], "approved_by": ["u"],
    })  # fmt: skip
    told = audit(Deals.from_frames(*tables, as_of=as_of))
    assert set(told.not_examined) == {"ambiguous", "orphan", "merged_record", "deleted_record"}
    assert told.findings["kind"].to_list() == [
        *("logged_late", "backdated", "self_approved", "registered_after_direct"),
    ]


@pytest.mark.parametrize(("seed", "edited", "of"), [(4, False, "all"), (5, True, "all"), (7, True, "all")])
def test_generated_orgs_equal_the_known_truth(seed, edited, of):
    org = generate(900, seed)
    reads = [(org.now, org.records)]
    at = org.now
    if edited:
        at = org.edited_at
        reads.append((org.edited_at + timedelta(minutes=10), org.edits))
    snapshot = derive(MemoryRecords(*reads), org.mapping, as_of=to_micros(at), watermark=to_micros(at))
    truth = org.truth(as_of=at, synced_at=at, edited=edited)
    newest = {name: {row["Id"]: row for row in rows} for name, rows in org.records.items()}
    for name, rows in org.edits.items() if edited else ():
        newest.setdefault(name, {}).update({row["Id"]: row for row in rows})
    records = {name: list(rows.values()) for name, rows in newest.items()}
    found = audit(Deals(snapshot, Policy()), of=of).findings
    for kind, wanted in expected(truth, records, org.mapping).items():
        rows = found.filter(kind=kind)
        if kind in ("merged_record", "deleted_record"):
            # beside what evidence names there is what would be evidence, were the partner not gone
            got = set(rows.select("evidence", "other_id").iter_rows())
            assert wanted <= got, kind
            assert kind == "deleted_record" or wanted == got
        elif kind == "clustered":
            assert set(rows["partner_id"]) == wanted
        else:
            assert set(rows.select("deal_id", "partner_id", "evidence").iter_rows()) == wanted, kind
            assert len(rows) == len(wanted), kind
        assert wanted or kind == "clustered", f"no case of {kind}"


def test_duplicates_are_suggested_with_a_score():
    names = [
        "Northgate Consulting",
        "NORTHGATE Consulting, Inc.",
        "Northridge Consulting",
        "Unit 1",
        "Unit 2",
    ]
    parties = [Party(str(at), name) for at, name in enumerate(names)]
    parties += [
        Party("5", "Zeta", website="https://www.zeta.example/en"),
        Party("6", "Omega", website="zeta.example"),
    ]
    parties += [Party("7", "Kestrelwick Solutoins"), Party("8", "Kestrelwick Solutions")]
    parties += [Party(each, each, website="linkedin.com/company/x") for each in ("Alba", "Borealis")]
    # alike for the most part, but not the word, or the number, that tells them apart
    both = ("Ashby", "Derby")
    parties += [Party(name, f"{name} International Business Solutions") for name in both]
    parties += [Party(number, f"Calderbrook Partners {number}") for number in ("0170", "0171")]
    found = {(each.one, each.other): (each.score, each.domain) for each in alike(parties)}
    assert found == {
        (0, 1): (100.0, None),
        (5, 6): (100.0, "zeta.example"),
        (7, 8): (pytest.approx(95.2), None),
    }

    family = (
        Party("ann-id", "Acme", None),
        Party("bob-id", "Acme GmbH", "ann-id"),
        Party("cat-id", "ACME", None),
    )
    deals = path(
        "ann@1 won@9 3.00 USD", "bob@1 won@9 4.00 USD", "cat@1 bob@1 won@9 5.00 USD", partners=family
    )
    rows = audit(deals).findings.filter(kind="duplicate_partner")
    # a subsidiary is known to belong together; nothing is merged
    assert list(rows.select("partner_id", "other_id", "amount").iter_rows()) == [
        ("ann-id", "cat-id", Decimal("8.00")), ("bob-id", "cat-id", Decimal("9.00")),
    ]  # fmt: skip


def test_ten_thousand_partners_are_compared_with_one_another():
    names = [
        f"{chr(97 + at % 26)}{chr(97 + at // 26 % 26)}{at * 7919 % 10007:05} partners" for at in range(10_000)
    ]
    parties = [Party(str(at), name) for at, name in enumerate([*names, names[17].upper()])]
    assert (17, 10_000) in {(each.one, each.other) for each in alike(parties)}


def test_it_is_written_in_every_form(tmp_path):
    found = audit(path("ann@1+recorded=40 bob@2+recorded=40 won@30 100.01 USD"))
    document = json.loads(json.dumps(found.to_dict()))
    assert document["findings"][0]["amount"] == "100.01"
    assert document["findings"][0]["occurred_at"] == "2026-01-02T00:00:00Z"
    assert [row["kind"] for row in document["summary"]] == [
        kind for kind in FINDINGS if kind not in found.not_examined or kind == "duplicate_partner"
    ]
    assert found.to_csv(tmp_path / "a.csv") == (tmp_path / "a.csv").read_text()
    found.to_parquet(tmp_path / "a.parquet")
    assert pl.read_parquet(tmp_path / "a.parquet").equals(found.to_polars())
    assert pl.DataFrame(found).equals(found.findings)
    assert found.to_pandas()["amount"][0] == Decimal("100.01")
    assert "recorded 39.0 days after it happened" in str(found)
    assert found.to_text(0).count("recorded") == 0
    assert "<table>" in found._repr_html_()
    nothing = audit(path())
    assert (len(nothing), nothing.to_dict()["findings"]) == (0, [])


def test_people_are_shown_some_of_every_kind():
    late = [f"id=D{n:02} ann:referral@0+recorded=20 won@30 1.00 USD" for n in range(60)]
    found = audit(path(*late, "id=E1 bob:role@40 won@30 1.00 USD", "id=E2 cat:role@0+self won@30"))

    def told(text: str) -> list[str]:
        return [line.partition(":")[0] for line in text.splitlines() if line.partition(":")[0] in FINDINGS]

    assert set(told(str(found))) == {"logged_late", "set_after_close", "unattributed", "self_deal"}
    assert len(told(str(found))) == 50
    assert f"… and {len(found) - 50} more" in str(found)
    assert len(told(found.to_text(None))) == len(found)
