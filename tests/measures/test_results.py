from __future__ import annotations

import json
import math
import sys
from datetime import UTC, datetime
from decimal import Decimal

import polars
import pytest

from attribution.columns import Party
from attribution.errors import UsageError
from attribution.measures.claims import influenced, sourced
from attribution.measures.credit import attribute
from attribution.measures.measure import DENSE
from attribution.measures.waterfall import waterfall
from attribution.models import FirstTouch, Linear
from tests.notation import instant, path

DEALS = path(
    "ann/resale:referral@-1 bob@1+owner won@30 100.00 USD",
    "bob:referral@0 ann@1 won@20 50.50 USD",
    "lead_source=Partner won@8 1000.00 USD",
    "cat:referral@0 won@9",
    "ann:referral@0 lost@9 4.00 USD",
)
HEAD = {
    "as_of": "2028-09-27T00:00:00Z",
    "known_at": None,
    "policy_hash": DEALS.policy.hash,
    "mapping_hash": "0000000000000000",
    "currency": "USD",
    "of": "won",
}


def test_json_of_sourced():
    assert sourced(DEALS).by("partner", "program").to_dict() == {
        "measure": "sourced",
        **HEAD,
        "by": ["partner", "program"],
        "rows": [
            {
                "partner": partner,
                "partner_id": f"{partner}-id",
                "program": program,
                "program_id": program_id,
                "amount": amount,
                "n_deals": 1,
                "share": share,
            }
            for partner, program, program_id, amount, share in (
                ("ann", "resale", "resale-id", "100.00", 100 / 1150.5),
                ("bob", "(none)", None, "50.50", 50.5 / 1150.5),
                ("cat", "(none)", None, "0.00", 0.0),
            )
        ],
        "total": "150.50",
        "selected": "1150.50",
        "n_deals": 4,
        "contested_deals": 0,
        "future_dated_deals": 0,
        "unverified": {"n_deals": 1, "amount": "1000.00"},
        "unvalued_deals": 1,
        "current_rate_deals": 0,
        "excluded_deals": 0,
    }


def test_json_of_influenced():
    document = influenced(DEALS).by("partner").to_dict()
    assert document["rows"] == [
        {
            "partner": "bob",
            "partner_id": "bob-id",
            "amount": "100.00",
            "approved_amount": "0.00",
            "auto_approved_amount": "100.00",
            "claimed_amount": "0.00",
            "n_deals": 1,
            "share": 100 / 1150.5,
        },
        {
            "partner": "ann",
            "partner_id": "ann-id",
            "amount": "0.00",
            "approved_amount": "0.00",
            "auto_approved_amount": "0.00",
            "claimed_amount": "50.50",
            "n_deals": 0,
            "share": 0.0,
        },
    ]
    assert "unverified" not in document
    assert document["total"] == "100.00"


def test_json_of_credit():
    document = attribute(DEALS, Linear()).by("partner").to_dict()
    assert (document["measure"], document["model"]) == ("credit", "linear")
    assert document["rows"][0] == {
        "partner": "ann",
        "partner_id": "ann-id",
        "amount": "75.25",
        "deals": 1.0,
        "share": 75.25 / 1150.5,
    }
    assert (document["total"], document["unattributed"], document["selected"]) == (
        "150.50",
        "1000.00",
        "1150.50",
    )
    assert json.loads(json.dumps(document)) == document


def test_rule_7_3_shares_are_absent_when_nothing_is_selected():
    (row,) = sourced(path("ann:referral@0 won@9 0.00 USD")).by("partner").rows
    assert row["share"] is None


FAMILY = path(
    "ann/resale:referral@-1+tier=Gold bob/resale@1+owner won@30 100.00 USD Industry=Retail",
    "bob:referral@0 ann@1+owner won@20 50.50 USD type=renewal",
    "cat@1+owner bob@2+owner won@9 8.00 USD Industry=Retail type=expansion",
    partners=(Party("ann-id", "ann", "top"), Party("bob-id", "bob", "ann-id"), Party("cat-id", "cat")),
    parents=(Party("top", "Top Group"),),
)


def amounts(table, *columns):
    return {tuple(row[column] for column in columns): str(row["amount"]) for row in table.rows}


def test_rule_7_1_parents_count_each_deal_once():
    table = influenced(FAMILY).by("parent")
    assert amounts(table, "parent", "parent_id") == {
        ("Top Group", "top"): "158.50",
        ("cat", "cat-id"): "8.00",
    }
    assert table.rows[0]["n_deals"] == 3
    assert table.foot["total"] == Decimal("158.50")
    assert amounts(sourced(FAMILY).by("parent"), "parent") == {("Top Group",): "100.00"}


def test_a_partner_whose_parent_is_not_known_rolls_up_to_its_id():
    deals = path("ann:referral@0 won@9 1.00 USD", partners=(Party("ann-id", "ann", "001X"),))
    assert amounts(sourced(deals).by("parent"), "parent", "parent_id") == {("001X", "001X"): "1.00"}


def test_by_tier_deal_type_and_segments():
    assert amounts(sourced(FAMILY).by("tier"), "tier", "tier_id") == {("Gold", "Gold-id"): "100.00"}
    table = influenced(FAMILY).by("deal_type", "Industry")
    assert table.columns[:2] == ("deal_type", "Industry")
    assert amounts(table, "deal_type", "Industry") == {
        ("new", "Retail"): "100.00",
        ("renewal", "(none)"): "50.50",
        ("expansion", "Retail"): "8.00",
    }
    credit = attribute(FAMILY, Linear()).by("Industry")
    assert amounts(credit, "Industry") == {("Retail",): "108.00", ("(none)",): "50.50"}


def test_every_grouping_goes_into_every_format(tmp_path):
    measures = sourced(FAMILY), influenced(FAMILY), attribute(FAMILY, Linear())
    for at, measure in enumerate(measures):
        for by in [("parent",), ("tier", "Industry"), ("deal_type",), ("Industry", "partner", "program")]:
            table = measure.by(*by)
            assert json.loads(json.dumps(table.to_dict()))["by"] == list(by)
            # only influenced amounts have another name where nothing refuses to add them up
            amount = "participation_amount" if at == 1 else "amount"
            columns = [amount if name == "amount" else name for name in table.columns]
            assert table.to_polars().rename({amount: "amount"}).rows(named=True) == table.rows
            assert table.to_pandas().columns.tolist() == columns
            assert polars.DataFrame(table).columns == columns
            assert table._repr_html_().count("<tr>") == len(table) + 1
            table.to_parquet(tmp_path / f"{at}.parquet")
            assert polars.read_parquet(tmp_path / f"{at}.parquet").write_csv() == table.to_csv()


def test_segments_may_be_called_like_amounts_and_ids():
    deals = path("ann:referral@0 won@9 1.00 USD Deal_amount=high Region_id=7")
    table = sourced(deals).by("Deal_amount", "Region_id")
    assert table.to_polars()["Deal_amount"].to_list() == ["high"]
    assert "high         7" in str(table)


def test_rule_7_4_rows_are_sorted_by_amount_then_partner_id_then_program():
    deals = path(
        "zoe/b:referral@0 won@9 5.00 USD",
        "zoe/a:referral@0 won@9 5.00 USD",
        "zoe:referral@0 won@9 5.00 USD",
        "ann/z:referral@0 won@9 5.00 USD",
        "bob:referral@0 won@9 9.00 USD",
    )
    rows = sourced(deals).by("partner", "program").rows
    assert [(row["partner"], row["program"]) for row in rows] == [
        ("bob", "(none)"),
        ("ann", "z"),
        ("zoe", "(none)"),
        ("zoe", "a"),
        ("zoe", "b"),
    ]


def test_many_combinations_are_grouped_like_few():
    texts = ("ann/resale@1 bob@2 won@9 1.00 USD", "bob/cosell@1 won@9 2.00 USD")
    few = path(*texts)
    crowd = tuple(Party(f"x{at}", f"x{at}") for at in range(2_100))
    many = path(*texts, partners=few.partners + crowd, programs=few.programs + crowd)
    assert len(many.partners) * len(many.programs) > DENSE
    tables = [attribute(deals, Linear()).by("program", "partner").to_dict() for deals in (few, many)]
    assert tables[0] == tables[1]


@pytest.mark.parametrize("names", [("owner",), (), ("partner", "partner"), ("partner", "Industry")])
def test_an_unknown_by_names_what_exists(names):
    with pytest.raises(UsageError) as error:
        sourced(DEALS).by(*names)
    assert "partner, program" in error.value.hint


def test_restricting_rows_to_an_unknown_partner_names_the_known():
    with pytest.raises(UsageError, match="no partner 'eve'") as error:
        sourced(DEALS).by("partner", partner="eve")
    assert "ann, bob, cat" in error.value.hint


def test_rule_7_3_restricted_rows_restrict_the_total():
    table = sourced(DEALS).by("partner", partner=["ann-id", "cat"])
    assert [row["partner"] for row in table.rows] == ["ann", "cat"]
    assert (table.foot["total"], table.foot["selected"]) == (Decimal("100.00"), Decimal("1150.50"))
    assert sourced(DEALS).by("partner", program="resale").foot["total"] == Decimal("100.00")
    assert influenced(DEALS).by("partner", partner="ann").foot["total"] == 0


def test_won_deals_with_a_close_date_after_as_of_are_counted():
    deals = path("won@9 closed_on=40", "won@9 closed_on=20", "closed_on=50", as_of=20.9)
    assert sourced(deals, "all").by("partner").foot["future_dated_deals"] == 1
    assert (
        sourced(path("won@9 closed_on=20", as_of=20.1, zone="America/New_York"))
        .by("partner")
        .foot["future_dated_deals"]
    )


def test_excluded_deals_and_known_at_are_shown():
    deals = path("won@9", excluded_deals=3, known_at=instant(999))
    document = sourced(deals).by("partner").to_dict()
    assert (document["excluded_deals"], document["known_at"]) == (3, "2028-09-26T00:00:00Z")
    assert "known at 2028-09-26T00:00:00Z" in str(sourced(deals).by("partner"))


def test_a_table_as_text_hides_nothing():
    assert str(sourced(DEALS).by("partner")).splitlines() == [
        "sourced by partner: won deals as of 2028-09-27T00:00:00Z, in USD",
        "partner  amount  n_deals  share",
        "-------  ------  -------  -----",
        "ann      100.00        1   8.7%",
        "bob       50.50        1   4.4%",
        "cat        0.00        1   0.0%",
        "",
        "total                   150.50",
        "selected                1,150.50",
        "deals                   4",
        "contested deals         0",
        "future-dated deals      0",
        "unverified lead source  1,000.00 on 1 deals",
        "unvalued deals          1",
        "excluded deals          0",
    ]
    assert "total, each deal once  100.00" in str(influenced(DEALS).by("partner"))
    assert "unattributed        1,000.00" in str(attribute(DEALS, FirstTouch()).by("partner"))


def test_ids_are_shown_where_a_name_stands_for_two():
    deals = path("ann:referral@0 won@9", "bob:referral@0 won@9")
    twins = tuple(Party(party.id, "Acme") for party in deals.partners)
    twin_deals = path("ann:referral@0 won@9", "bob:referral@0 won@9", partners=twins)
    assert "partner_id" not in str(sourced(deals).by("partner"))
    assert "partner_id" in str(sourced(twin_deals).by("partner"))


def test_a_table_in_a_notebook_escapes_names():
    deals = path("ann:referral@0 won@9", partners=(Party("1", "<Ann & Co>"),))
    html = sourced(deals).by("partner")._repr_html_()
    assert "&lt;Ann &amp; Co&gt;" in html
    assert "<dt>unvalued deals</dt><dd>1</dd>" in html


def test_a_measure_introduces_itself():
    assert (
        repr(sourced(DEALS)) == "<Sourced: 150.50 of 1,150.50 USD on 4 won deals as of 2028-09-27T00:00:00Z>"
    )


def test_csv_of_credit_carries_what_nobody_gets(tmp_path):
    table = attribute(DEALS, FirstTouch()).by("partner", "program")
    text = table.to_csv(tmp_path / "credit.csv")
    assert (tmp_path / "credit.csv").read_text(encoding="utf-8") == text
    last = text.splitlines()[-1].split(",")
    assert last[:6] == ["(unattributed)", "", "(unattributed)", "", "1000.00", "1.0"]
    table.to_parquet(tmp_path / "credit.parquet")
    stored = polars.read_parquet(tmp_path / "credit.parquet")
    assert stored["amount"].sum() == table.foot["selected"]
    assert stored.write_csv() == text


def test_files_call_influenced_amounts_what_they_are(tmp_path):
    table = influenced(DEALS).by("partner")
    assert (
        table.to_csv().splitlines()[0].startswith("partner,partner_id,participation_amount,approved_amount")
    )
    table.to_parquet(tmp_path / "influenced.parquet")
    assert "participation_amount" in polars.read_parquet_schema(tmp_path / "influenced.parquet")


def test_frames_hold_exact_amounts():
    table = attribute(DEALS, Linear()).by("partner", "program")
    frame = table.to_polars()
    assert frame.columns == list(table.columns)
    assert frame["amount"].to_list() == [row["amount"] for row in table.rows]
    assert frame.schema["amount"] == polars.Decimal(38, 2)
    assert table.to_pandas()["amount"].tolist() == [row["amount"] for row in table.rows]
    assert polars.DataFrame(table).equals(frame)  # by the Arrow stream


def test_frames_of_nothing_have_their_types():
    table = sourced(path()).by("partner")
    assert table.to_polars().schema["n_deals"] == polars.Int64
    assert str(table.to_pandas()["n_deals"].dtype) == "int64"
    assert table.to_csv() == "partner,partner_id,amount,n_deals,share\n"


def test_frames_of_one_deal_have_instants():
    frame = attribute(DEALS, Linear()).of("D1").to_polars()
    assert frame["occurred_at"][0] == datetime(2025, 12, 31, tzinfo=UTC)


def test_a_missing_pandas_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pandas is not installed"):
        sourced(DEALS).by("partner").to_pandas()


def test_nothing_of_a_negative_amount_is_a_share_of_zero_without_a_sign():
    deals = path("ann@1+owner bob:referral@-1 cat@2 won@30 -100.00 USD", "dan:referral@0 eve@1+owner won@30")
    for table in (
        sourced(deals).by("partner"),
        influenced(deals).by("partner"),
        waterfall(deals),
        attribute(deals, FirstTouch()).by("partner"),
    ):
        assert "-0.0," not in table.to_csv() + ","
        assert "-0.0%" not in table.to_text()
        assert '"share": -0.0' not in json.dumps(table.to_dict())
        nothing = [row["share"] for row in table.rows if not row["amount"]]
        assert nothing
        assert not any(math.copysign(1, share) < 0 for share in nothing)
