"""Deals from tables that somebody hands over: what they mean, and every way in which they can be wrong."""

from __future__ import annotations

import math
import random
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import pandas
import polars
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.columns import NO_DAY, OPEN, from_micros
from attribution.deals import Deals
from attribution.errors import AttributionError, DataError, UsageError
from attribution.graph import ecosystem_graph
from attribution.measures.claims import influenced, sourced
from attribution.measures.credit import attribute
from attribution.models import FirstTouch, Linear
from attribution.policy import Policy
from tests.measures.strategies import AS_OF, POLICIES, ZONE, paths
from tests.notation import deals_of, instant

NOW = datetime(2026, 6, 30, tzinfo=UTC)
JANUARY, MARCH = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)
DEALS = {
    "id": ["D1", "D2", "D3"],
    "created_at": [JANUARY, JANUARY, JANUARY],
    "closed_at": [MARCH, MARCH, None],
    "is_won": [True, False, None],
    "amount": [Decimal("100.00"), Decimal("7.50"), None],
    "currency": ["USD", "USD", "USD"],
    "Industry": ["Retail", None, "Bank"],
}
TOUCHES = {
    "deal_id": ["D1", "D1", "D2", "D3"],
    "occurred_at": [JANUARY, datetime(2026, 1, 20, tzinfo=UTC), JANUARY, MARCH],
    "partner": ["Acme", "Globex", "Acme", "Initech"],
    "program": ["Resale", None, None, "Resale"],
    "kind": ["referral", "meeting", "call", "meeting"],
}
STAGES = {"deal_id": ["D1"], "stage": ["Proposal"], "entered_at": [JANUARY], "is_closed": [False]}


def changed(table, **columns):
    """The table with some columns other; None: without the column."""
    return {name: values for name, values in {**table, **columns}.items() if values is not None}


def built(deals=DEALS, touches=TOUCHES, stages=None, **more):
    return Deals.from_frames(deals, touches, stages, **{"as_of": NOW, **more})


def one(deal=(), touch=(), stages=None, **more):
    """One deal with one touchpoint."""
    base = {"id": ["D1"], "created_at": [JANUARY], "closed_at": [None], "is_won": [None]}
    deals = {**base, **{name: [value] for name, value in dict(deal).items()}}
    base = {"deal_id": ["D1"], "occurred_at": [MARCH], "partner": ["Acme"]}
    touches = {**base, **{name: [value] for name, value in dict(touch).items()}}
    return built(deals, touches, stages, **more)["D1"]


# what the tables mean


def test_the_columns_become_deals():
    deals = built()
    assert (len(deals), deals.currency, deals.as_of) == (3, "USD", NOW)
    won, lost, still_open = deals
    assert (won.outcome, won.closed_at, won.amount, won.closed_on) == (
        "won",
        MARCH,
        Decimal("100.00"),
        MARCH.date(),
    )
    assert (lost.outcome, lost.amount) == ("lost", Decimal("7.50"))
    assert (still_open.outcome, still_open.closed_at, still_open.amount) == ("open", None, None)
    assert won.segments == {"Industry": "Retail"}
    first, second = won.touchpoints
    assert (first.partner.name, first.partner.id, first.program.name) == ("Acme", "Acme", "Resale")
    assert (first.kind, first.strength, second.kind, second.program) == (
        "referral",
        "strong",
        "meeting",
        None,
    )
    assert lost.touchpoints[0].strength == "weak"


def test_everything_above_works():
    deals = built()
    assert sourced(deals).by("partner").rows[0]["amount"] == Decimal("100.00")
    assert influenced(deals).by("partner", "Industry").rows[0]["claimed_amount"] == Decimal("100.00")
    assert attribute(deals, Linear()).by("Industry").foot["unattributed"] == 0
    assert len(deals.where(partner="acme", closed="2026Q1")) == 2
    assert deals["D1"].graph.number_of_nodes() == 6
    assert ecosystem_graph(deals).number_of_edges() == 1


def arrow(table):
    return pyarrow.table({name: pyarrow.array(values) for name, values in table.items()})


@pytest.mark.parametrize(
    "form",
    [
        pandas.DataFrame,
        polars.DataFrame,
        lambda table: polars.DataFrame(table).lazy(),
        arrow,
        lambda table: {name: polars.Series(values) for name, values in table.items()},
        lambda table: {name: np.array(values, dtype=object) for name, values in table.items()},
        lambda table: polars.DataFrame(table).with_columns(
            polars.col(polars.String).cast(polars.Categorical),
            polars.col(polars.Decimal).cast(polars.Float64),
        ),
        lambda table: pandas.DataFrame(table).convert_dtypes(),
    ],
)
def test_any_table_will_do(form):
    assert list(built(form(DEALS), form(TOUCHES), form(STAGES))) == list(built())


def test_instants_may_be_text_with_a_zone_or_of_any_zone_and_unit():
    texts = ["2026-03-01T00:00Z", "2026-03-01 01:00:00+01:00", "2026-02-28T19:00:00.000-0500"]
    zones = [MARCH.astimezone(timezone(timedelta(hours=9)))]
    frames = [
        polars.Series(["2026-03-01T00:00:00"]).str.to_datetime(time_unit=unit).dt.replace_time_zone("UTC")
        for unit in ("ms", "us", "ns")
    ]
    for value in [*texts, *zones]:
        assert one(touch={"occurred_at": value}).touchpoints[0].occurred_at == MARCH
    for series in frames:
        touches = {"deal_id": ["D3"], "occurred_at": series, "partner": ["Acme"]}
        assert built(touches=touches)["D3"].touchpoints[0].occurred_at == MARCH


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        (100, "USD", "100.00"),
        (100.01, "USD", "100.01"),
        (-0.29, "USD", "-0.29"),
        (90071992547409.91, "USD", "90071992547409.91"),
        ("1234.5", "USD", "1234.50"),
        ("-0.05", "USD", "-0.05"),
        ("+7.", "USD", "7.00"),
        (Decimal("1.500"), "USD", "1.50"),
        (Decimal("92233720368547758.07"), "USD", "92233720368547758.07"),
        (100, "JPY", "100"),
        (100.0, "JPY", "100"),
        (0.125, "KWD", "0.125"),
        (0, "USD", "0.00"),
        (None, "USD", None),
    ],
)
def test_amounts_are_exact(amount, currency, expected):
    found = one({"amount": amount, "currency": currency}).amount
    assert (None if found is None else str(found)) == expected


def test_amounts_of_several_types_of_number():
    deals = built(changed(DEALS, amount=[1, 2.5, None]))
    assert [deal.amount for deal in deals] == [Decimal("1.00"), Decimal("2.50"), None]
    deals = built(changed(DEALS, amount=[1, Decimal("2.5"), None]))
    assert [deal.amount for deal in deals] == [Decimal("1.00"), Decimal("2.50"), None]


def test_what_pandas_holds_as_nan_is_missing():
    deals = built(pandas.DataFrame(changed(DEALS, amount=[100.0, math.nan, math.nan])))
    assert [deal.amount for deal in deals] == [Decimal("100.00"), None, None]


def test_without_amounts_and_currency_deals_are_unvalued():
    deals = built(changed(DEALS, amount=None, currency=None))
    assert deals.currency == "XXX"
    assert sourced(deals).by("partner").foot["unvalued_deals"] == 1


def test_nothing_later_than_as_of_is_visible():
    deals = built(as_of=datetime(2026, 2, 1, tzinfo=UTC))
    assert {deal.outcome for deal in deals} == {"open"}
    assert (deals.snapshot.deals.closed_at == OPEN).all()
    assert (deals.snapshot.deals.closed_on == NO_DAY).all()
    assert [party.name for party in deals.partners] == ["Acme", "Globex"]
    assert len(built(as_of=datetime(2025, 1, 1, tzinfo=UTC))) == 0
    assert one(touch={"occurred_at": NOW}).touchpoints
    assert not one(touch={"occurred_at": NOW + timedelta(microseconds=1)}).touchpoints


def test_days_are_those_of_the_zone():
    close = {"closed_at": MARCH, "is_won": True}
    assert one(close).closed_on == date(2026, 3, 1)
    assert one(close, zone="America/New_York").closed_on == date(2026, 2, 28)
    for day in (date(2026, 4, 1), "2026-04-01", datetime(2026, 4, 1)):
        assert one({**close, "closed_on": day}).closed_on == date(2026, 4, 1)


def test_a_close_before_the_creation_stays_and_is_flagged():
    deals = built(changed(DEALS, closed_at=[JANUARY - timedelta(days=1), MARCH, None]))
    assert deals.snapshot.deals.close_before_creation.tolist() == [True, False, False]


def test_deal_types():
    deals = built(changed(DEALS, deal_type=["renewal", None, "expansion"]))
    assert [deal.deal_type for deal in deals] == ["renewal", "unclassified", "expansion"]


def test_names_and_ids_may_be_numbers():
    deals = built(changed(DEALS, id=[3, 1, 2], name=["c", "a", None]), changed(TOUCHES, deal_id=[3, 3, 2, 1]))
    assert [(deal.id, deal.name) for deal in deals] == [("1", "a"), ("2", "2"), ("3", "c")]


def test_ids_order_touchpoints_of_one_instant():
    touches = {"deal_id": ["D3"] * 3, "occurred_at": [MARCH] * 3, "partner": ["b", "a", "c"]}
    named = built(touches={**touches, "id": ["é", "t10", "t9"]})["D3"].touchpoints
    assert [touch.id for touch in named] == ["t10", "t9", "é"]
    unnamed = built(touches=touches)["D3"].touchpoints
    assert [touch.partner.name for touch in unnamed] == ["a", "b", "c"]


def test_without_ids_ties_break_by_partner_kind_and_program():
    rows = [("a", "call", "z"), ("a", "meeting", None), ("a", "meeting", "y"), ("a", "role", "x"), ("b",) * 3]
    shuffled = random.Random(1).sample(rows, len(rows))
    touches = {
        "deal_id": ["D3"] * 5,
        "occurred_at": [MARCH] * 5,
        "partner": [row[0] for row in shuffled],
        "kind": [row[1] for row in shuffled],
        "program": [row[2] for row in shuffled],
        "strength": ["strong"] * 5,
    }
    found = built(touches=touches)["D3"].touchpoints
    names = [(touch.partner.name, touch.kind, touch.program and touch.program.name) for touch in found]
    assert names == rows
    assert len({touch.id for touch in found}) == 5


def test_touchpoints_of_one_deal_and_of_distant_instants():
    at = [datetime(1700, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC), MARCH, MARCH]
    at[1:1] = [at[1] + timedelta(microseconds=us) for us in (3, 2, 1)]
    touches = {"deal_id": ["D3"] * 7, "occurred_at": at, "partner": ["a"] * 7}
    assert [touch.occurred_at for touch in built(touches=touches)["D3"].touchpoints] == sorted(at)


def test_partners_have_ids_names_and_parents():
    touches = changed(
        TOUCHES,
        partner=["Acme", "Acme EMEA", "Acme", "Initech"],
        partner_id=["1", "2", "1", "3"],
        parent=[None, "Acme", None, "Holding"],
    )
    deals = built(touches=touches)
    assert [(party.id, party.name, party.parent_id) for party in deals.partners] == [
        ("1", "Acme", None),
        ("2", "Acme EMEA", "1"),
        ("3", "Initech", "Holding"),
    ]
    parents = {row["parent"] for row in influenced(deals, "all").by("parent").rows}
    assert parents == {"Acme", "Holding"}


def test_strength_is_that_of_the_kind_unless_it_is_given():
    strengths = {"role": "strong", "email": "weak", "task": "exposure", "overlap": "exposure"}
    for kind, strength in strengths.items():
        assert one(touch={"kind": kind}).touchpoints[0].strength == strength
        assert one(touch={"kind": kind, "strength": "weak"}).touchpoints[0].strength == "weak"
    touch = one(touch={"kind": "webinar", "strength": "exposure"}).touchpoints[0]
    assert (touch.kind, touch.strength) == ("webinar", "exposure")
    assert one().touchpoints[0].kind == one(touch={"kind": None}).touchpoints[0].kind == "meeting"


def test_influence_is_approved_only_where_it_is_said():
    def headline(**touch):
        deal = {"closed_at": NOW, "is_won": True, "amount": 5}
        touches = {"deal_id": ["D1"], "occurred_at": [MARCH], "partner": ["Acme"]}
        base = {"id": ["D1"], "created_at": [JANUARY], **{name: [value] for name, value in deal.items()}}
        return influenced(built(base, {**touches, **{n: [v] for n, v in touch.items()}})).total()

    assert headline() == 0
    assert headline(recorded_by_owner=True) == 5
    assert headline(approval="approved") == 5
    assert headline(approval="pending", recorded_by_owner=True) == 0
    assert headline(approval="approved", approved_at=NOW + timedelta(days=1)) == 0


def test_registrations_hold_to_the_end_of_their_day():
    def by(**more):
        deal = {"closed_at": NOW, "is_won": True}
        touch = {"occurred_at": JANUARY - timedelta(days=9), "kind": "deal_registration", **more}
        touches = {"deal_id": ["D1"], "partner": ["Acme"], **{n: [v] for n, v in touch.items()}}
        base = {"id": ["D1"], "created_at": [JANUARY], **{n: [v] for n, v in deal.items()}}
        return len(sourced(built(base, touches)).by("partner"))

    assert by(approval="approved") == 1
    assert by() == by(approval="pending") == by(approval="rejected") == 0
    assert by(approval="approved", approved_at=JANUARY - timedelta(days=91)) == 0
    assert by(approval="approved", expires_at=JANUARY) == 1  # an instant is included
    assert by(approval="approved", expires_at=JANUARY - timedelta(microseconds=1)) == 0
    assert by(approval="approved", expires_at=date(2026, 1, 1)) == 1
    assert by(approval="approved", expires_at="2025-12-31") == 0
    touch = one(touch={"expires_at": MARCH}).touchpoints[0]
    assert touch.expires_at == MARCH


def test_roles_that_source():
    touch = {"kind": "role", "role": "Referral", "occurred_at": JANUARY}
    deal = {"closed_at": MARCH, "is_won": True}
    assert one(deal, touch).touchpoints[0].role == "Referral"
    touches = {"deal_id": ["D1"], "partner": ["Acme"], **{n: [v] for n, v in touch.items()}}
    assert (
        len(sourced(built(touches=touches, policy=Policy(sourcing_roles=("Referral",)))).by("partner")) == 1
    )


def test_rule_3_3_own_accounts():
    for account, parent, family in (("A", None, None), ("X", "A", None), ("X", "Y", "Y"), ("Y", None, "Y")):
        deal = {"account_id": account, "account_parent_id": parent}
        touch = {"partner_id": "A", "parent": family}
        assert one(deal, touch).touchpoints[0].own_account
        explicit = one(deal, {**touch, "kind": "role"}).touchpoints[0]
        assert (explicit.own_account, explicit.self_deal) == (False, True)
    for account, parent in (("B", None), (None, None), ("B", "C")):
        deal = {"account_id": account, "account_parent_id": parent}
        touch = one(deal, {"partner_id": "A", "parent": "Z"}).touchpoints[0]
        assert (touch.own_account, touch.self_deal) == (False, False)


def test_evidence_recorded_later_is_flagged():
    assert not one(touch={"recorded_at": MARCH + timedelta(days=14)}).touchpoints[0].logged_late
    assert one(touch={"recorded_at": MARCH + timedelta(days=14.1)}).touchpoints[0].logged_late
    assert one().touchpoints[0].recorded_at == MARCH


def test_direct_touches_are_kept_and_on_no_path():
    touches = changed(TOUCHES, partner=["Acme", None, "(direct)", None], is_direct=[False, True, True, True])
    deals = built(touches=touches, as_of=datetime(2026, 2, 1, tzinfo=UTC))
    assert len(deals.snapshot.direct) == 2  # one of the three is later
    assert [party.name for party in deals.partners] == ["Acme"]
    for pool, expected in (("partners", ["Acme"]), ("all", ["(direct)", "Acme"])):
        rows = attribute(deals, Linear(), of="all", pool=pool).by("partner").rows
        assert sorted(row["partner"] for row in rows) == expected


def test_a_lead_of_the_future_is_not_known():
    deals = changed(DEALS, lead_created_at=[JANUARY, MARCH, None])
    known = [deal.lead_created_at for deal in built(deals, as_of=datetime(2026, 2, 1, tzinfo=UTC))]
    assert known == [JANUARY, None, None]


def stages(*rows):
    """Rows of stage and day of January."""
    return {
        "deal_id": ["D1"] * len(rows),
        "stage": [stage for stage, _ in rows],
        "entered_at": [JANUARY + timedelta(days=day) for _, day in rows],
        "is_closed": [stage.startswith("Closed") for stage, _ in rows],
    }


@pytest.mark.parametrize(
    ("rows", "day"),
    [
        ([("A", 0), ("Closed", 59)], None),
        ([("A", 0), ("B", 5), ("Closed", 59)], 5),
        ([("A", 0), ("A", 5), ("Closed", 59)], None),
        ([("A", 0), ("B", 5), ("A", 6), ("Closed", 59)], 6),
        ([("A", 0), ("Closed lost", 5), ("A", 6), ("Closed", 59)], 6),
        ([("A", 5), ("Closed", 59)], 5),  # before it lies an unknown stage
        ([("A", 0), ("B", 59)], None),  # not before the close
        ([("Closed", 59), ("B", 5), ("A", 0)], 5),
        ([], None),
    ],
)
def test_rule_6_3_the_last_open_spell(rows, day):
    found = int(built(stages=stages(*rows)).snapshot.deals.last_open_spell_at[0])
    assert (None if found == OPEN else from_micros(found)) == (
        None if day is None else JANUARY + timedelta(days=day)
    )


def test_stages_of_open_deals_and_without_is_closed():
    open_deal = changed(stages(("A", 0), ("B", 9)), deal_id=["D3", "D3"], is_closed=None)
    assert (built(stages=open_deal).snapshot.deals.last_open_spell_at == OPEN).all()
    closed = changed(stages(("A", 0), ("B", 9)), is_closed=None)
    assert from_micros(int(built(stages=closed).snapshot.deals.last_open_spell_at[0])) == JANUARY + timedelta(
        9
    )


def test_segments_select_and_group():
    deals = built(changed(DEALS, owner_id=["u1", "u2", "u1"], size=[1, 20, 1], hot=[True, False, None]))
    assert [name for name, _ in deals.snapshot.segments] == ["Industry", "hot", "owner_id", "size"]
    assert [deal.id for deal in deals.where(segments={"Industry": ["Retail", "Bank"]})] == ["D1", "D3"]
    assert [deal.id for deal in deals.where(segments={"Industry": "(none)", "size": "20"})] == ["D2"]
    assert [deal.id for deal in deals.where(segments={"hot": "true", "owner_id": "u1"})] == ["D1"]
    for wrong in ({"Sector": "Retail"}, {"Industry": "Retial"}):
        with pytest.raises(UsageError) as error:
            deals.where(segments=wrong)
        assert "Industry" in error.value.hint or "Retail" in error.value.hint


def test_empty_tables_give_empty_deals():
    nothing = {name: [] for name in DEALS}
    deals = built(nothing, {name: [] for name in TOUCHES}, {name: [] for name in STAGES})
    assert (len(deals), deals.currency, sourced(deals).total()) == (0, "XXX", 0)
    assert len(built(touches={"deal_id": [], "occurred_at": [], "partner": []})) == 3
    empty = polars.DataFrame(TOUCHES).clear()
    assert attribute(built(touches=empty), FirstTouch()).total() == 0


def test_snapshots_keep_the_results_of_the_last_policies_only():
    deals = built()
    for days in range(10):
        sourced(deals.with_policy(Policy(claim_days=days))).total()
    assert len({policy for _, policy in deals.snapshot.memo if policy}) <= 3
    assert sourced(deals.with_policy(Policy(claim_days=0))).total() == sourced(built()).total()


# tables that are wrong

WRONG_DEALS = {
    "no id": ({"id": None}, "there is no column 'id'"),
    "no created_at": ({"created_at": None}, "there is no column 'created_at'"),
    "no is_won": ({"is_won": None}, "there is no column 'is_won'"),
    "duplicate ids": ({"id": ["D1", "D2", "D1"]}, "column 'id', row 2: 'D1' is also that of row 0"),
    "null id": ({"id": ["D1", None, "D3"]}, "column 'id', row 1: nothing is given"),
    "blank id": ({"id": ["D1", " ", "D3"]}, "column 'id', row 1: ' ' is empty"),
    "padded id": ({"id": ["D1", "D2 ", "D3"]}, "column 'id', row 1: 'D2 ' is empty, or begins or ends"),
    "float id": ({"id": [1.0, 2.0, 3.0]}, "column 'id' is of type Float64, and text"),
    "naive instant": (
        {"created_at": [JANUARY, datetime(2026, 1, 1), JANUARY]},
        "column 'created_at', row 1: 2026-01-01 00:00:00 has no time zone",
    ),
    "naive column": (
        {"created_at": [datetime(2026, 1, 1)] * 3},
        r"column 'created_at', row 0 \(id 'D1'\): 2026-01-01 00:00:00 has no time zone",
    ),
    "naive text": (
        {"created_at": ["2026-01-01T00:00Z", "2026-01-01T00:00Z", "2026-01-01T00:00"]},
        r"column 'created_at', row 2 \(id 'D3'\): 2026-01-01T00:00 has no time zone",
    ),
    "day for instant": ({"closed_at": [date(2026, 3, 1), None, None]}, "'closed_at' is of type Date"),
    "no instant": (
        {"created_at": ["2026-01-01T00:00Z", "yesterday", "2026-01-01T00:00Z"]},
        r"column 'created_at', row 1 \(id 'D2'\): 'yesterday' is no instant",
    ),
    "no creation": ({"created_at": [JANUARY, JANUARY, None]}, r"row 2 \(id 'D3'\): nothing is given"),
    "number for instant": ({"created_at": [1, 2, 3]}, "'created_at' is of type Int64, and instants"),
    "won without close": (
        {"closed_at": [MARCH, None, None], "is_won": [True, True, None]},
        r"column 'closed_at', row 1 \(id 'D2'\): nothing is given, though is_won says",
    ),
    "lost without close": (
        {"closed_at": [MARCH, None, None]},
        r"column 'closed_at', row 1 \(id 'D2'\): nothing is given, though is_won says",
    ),
    "closed without is_won": (
        {"is_won": [True, None, None]},
        r"column 'is_won', row 1 \(id 'D2'\): nothing is given, though closed_at says",
    ),
    "text is_won": ({"is_won": ["yes", "no", None]}, "'is_won' is of type String, and true or false"),
    "number is_won": ({"is_won": [1, 0, None]}, "'is_won' is of type Int64, and true or false"),
    "NaN": ({"amount": [1.0, math.nan, None]}, r"column 'amount', row 1 \(id 'D2'\): nan is no amount"),
    "infinity": ({"amount": [1.0, 2.0, math.inf]}, r"column 'amount', row 2 \(id 'D3'\): inf is no amount"),
    "too many digits": ({"amount": [1.0, 2.005, 3.0]}, r"row 1 \(id 'D2'\): 2.005 has more than the 2 dig"),
    "a computed float": ({"amount": [0.1 + 0.2, 1.0, 1.0]}, "row 0 .* has more than the 2 digits of USD"),
    "too many decimals": (
        {"amount": [Decimal("1.001"), None, None]},
        "row 0 .* more than the 2 digits of USD",
    ),
    "digits of yen": (
        {"amount": ["1", "2", "0.5"], "currency": ["JPY"] * 3},
        "row 2 .* more than the 0 digits of JPY",
    ),
    "text amount": ({"amount": ["1", "1,000.00", "1"]}, r"row 1 \(id 'D2'\): '1,000.00' is no amount"),
    "boolean amount": ({"amount": [True, False, None]}, "'amount' is of type Boolean, and amounts"),
    "huge amount": ({"amount": [2**62, 1, 1]}, "row 0 .* is beyond 64 bits of minor units"),
    "huge decimal": ({"amount": ["92233720368547758.08", "1", "1"]}, "row 0 .* is beyond 64 bits"),
    "huge number": ({"amount": [2**80, 1, 1]}, "row 0 .* is beyond 64 bits"),
    "huge float": ({"amount": [1e20, 1.0, 1.0]}, "row 0 .* is beyond exact floats"),
    "mixed currencies": (
        {"currency": ["USD", "EUR", "USD"]},
        r"column 'currency', row 1 \(id 'D2'\): 'EUR' is not USD, as before",
    ),
    "currency code": ({"currency": ["$", "$", "$"]}, r"row 0 .* '\$' is no code of a currency"),
    "missing currency": (
        {"currency": ["USD", None, None]},
        "row 1 .* nothing is given, though there is an amo",
    ),
    "mixed types": ({"amount": [1, "2", None]}, "column 'amount' mixes types: int, str"),
    "deal type": (
        {"deal_type": ["new", "old", "new"]},
        r"column 'deal_type', row 1 .* 'old' is none of those",
    ),
    "closed_on": ({"closed_on": ["2026-02-30", None, None]}, "row 0 .* '2026-02-30' is no date"),
    "closed_on instant": ({"closed_on": [datetime(2026, 1, 1, 9), None, None]}, "row 0 .* is an instant"),
    "closed_on zone": ({"closed_on": [MARCH, None, None]}, "'closed_on' is of type Datetime.* and dates"),
    "nested segment": (
        {"tags": [["a"], ["b"], []]},
        r"'tags' is of type List\(String\), and text, whole numbers",
    ),
    "fractions as segment": ({"tags": [1.0, None, 1.5]}, "row 2 .* 1.5 is no whole number"),
    "taken segment": ({"share": ["a", "b", "c"]}, "no segment can be called 'share'"),
    "lengths": ({"amount": [Decimal(1)]}, "'amount' has 1 rows and 'id' 3"),
    "one value": ({"currency": "USD"}, "column 'currency' is one value"),
    "year 10000": (
        {"created_at": polars.Series([0, 0, 2**58]).cast(polars.Datetime("us", "UTC"))},
        "row 2 .* beyond the years",
    ),
}
WRONG_TOUCHES = {
    "no deal_id": ({"deal_id": None}, "there is no column 'deal_id'"),
    "no occurred_at": ({"occurred_at": None}, "there is no column 'occurred_at'"),
    "no partner": ({"partner": None}, "there is no column 'partner'"),
    "unknown column": ({"programme": ["a"] * 4}, "there is no use for the column 'programme'"),
    "unknown deal": (
        {"deal_id": ["D1", "D9", "D1", "D1"]},
        "column 'deal_id', row 1: 'D9' is the id of no deal",
    ),
    "null deal": ({"deal_id": ["D1", None, "D1", "D1"]}, "column 'deal_id', row 1: nothing is given"),
    "null partner": ({"partner": ["a", "b", None, "c"]}, "column 'partner', row 2: nobody is named"),
    "blank partner": ({"partner": ["a", "b", "", "c"]}, "column 'partner', row 2: '' is empty"),
    "naive": (
        {"occurred_at": [datetime(2026, 1, 1)] * 4},
        "column 'occurred_at', row 0: .* has no time zone",
    ),
    "null instant": ({"occurred_at": [JANUARY, None, JANUARY, MARCH]}, "'occurred_at', row 1: nothing is"),
    "unknown kind": (
        {"kind": ["meeting", "lunch", "call", "call"]},
        "column 'kind', row 1: 'lunch' is none of the kinds",
    ),
    "circle of parents": (
        {"partner": ["a", "b", "c", "d"], "parent": ["b", "c", "b", None]},
        "column 'parent': (b under c under b|c under b under c) is a circle",
    ),
    "unknown strength": ({"strength": ["strong"] * 3 + ["mighty"]}, "'strength', row 3: 'mighty' is none of"),
    "unknown approval": ({"approval": ["ok", None, None, None]}, "column 'approval', row 0: 'ok' is none of"),
    "duplicate ids": ({"id": ["t1", "t2", "t1", "t3"]}, r"column 'id', row 2: 't1' is also that of row 0"),
    "null id": ({"id": ["t1", None, "t2", "t3"]}, "column 'id', row 1: nothing is given"),
    "two names": (
        {"partner_id": ["1", "1", "1", "3"]},
        "column 'partner', row 1: 'Globex' and 'Acme' are both given for '1'",
    ),
    "null partner_id": (
        {"partner_id": ["1", None, "1", "3"]},
        "column 'partner_id', row 1: nothing is given",
    ),
    "two parents": (
        {"parent": ["X", None, "Y", None]},
        "column 'parent', row 2: 'Y' and 'X' are both given for 'Acme'",
    ),
    "late expiry": ({"expires_at": [datetime(2026, 1, 1)] * 4}, "column 'expires_at', row 0: .* has no time"),
    "text owner": ({"recorded_by_owner": ["y"] * 4}, "'recorded_by_owner' is of type String"),
    "own kinds": (
        {
            "deal_id": ["D1"] * 200,
            "occurred_at": [JANUARY] * 200,
            "partner": ["a"] * 200,
            "program": None,
            "kind": [f"k{at}" for at in range(200)],
            "strength": ["weak"] * 200,
        },
        "there are 200 kinds of your own",
    ),
}
WRONG_STAGES = {
    "unknown deal": ({"deal_id": ["D9"]}, "stages: column 'deal_id', row 0: 'D9' is the id of no deal"),
    "no stage": ({"stage": None}, "there is no column 'stage'"),
    "null stage": ({"stage": [None]}, "column 'stage', row 0 .* nothing is given"),
    "naive": ({"entered_at": [datetime(2026, 1, 1)]}, r"row 0 \(deal_id 'D1'\): .* has no time zone"),
}


@pytest.mark.parametrize(("columns", "message"), WRONG_DEALS.values(), ids=WRONG_DEALS)
def test_wrong_deals(columns, message):
    with pytest.raises((UsageError, DataError), match=f"^deals: .*{message}|^deals: {message}"):
        built(changed(DEALS, **columns))


@pytest.mark.parametrize(("columns", "message"), WRONG_TOUCHES.values(), ids=WRONG_TOUCHES)
def test_wrong_touchpoints(columns, message):
    with pytest.raises((UsageError, DataError), match=f"^touchpoints: .*{message}"):
        built(touches=changed(TOUCHES, **columns))


@pytest.mark.parametrize(("columns", "message"), WRONG_STAGES.values(), ids=WRONG_STAGES)
def test_wrong_stages(columns, message):
    with pytest.raises((UsageError, DataError), match=message):
        built(stages=changed(STAGES, **columns))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"deals": [1, 2]}, "deals is of type list, which is no table"),
        ({"deals": pandas.DataFrame({1: [1]})}, "a column is called 1, which is no text"),
        (
            {"deals": pandas.DataFrame([[1, 2]], columns=["id", "id"])},
            "a column is called the same name twice",
        ),
        (
            {"deals": pandas.DataFrame(changed(DEALS, created_at=[datetime(2026, 1, 1)] * 3))},
            "has no time zone",
        ),
        ({"deals": pandas.DataFrame(changed(DEALS, amount=[1, "2", None]))}, "'amount' mixes types"),
        ({"as_of": datetime(2026, 1, 1)}, "as_of 2026-01-01T00:00:00 has no time zone"),
        ({"as_of": "2026-01-01"}, "as_of is '2026-01-01', and an instant is needed"),
        ({"policy": "strict"}, "policy is 'strict', and a Policy is needed"),
        ({"zone": "Mars/Olympus"}, "there is no time zone 'Mars/Olympus'"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(AttributionError, match=message) as error:
        built(**arguments)
    assert error.value.hint


# laws


def frames_of(drawn):
    """The tables that say what these paths of the notation say."""
    moment = lambda day: None if day is None else from_micros(instant(day))  # noqa: E731
    deals = {
        "id": [deal.id for deal in drawn],
        "created_at": [moment(deal.created) for deal in drawn],
        "closed_at": [moment(deal.closed) for deal in drawn],
        "is_won": [None if deal.outcome == "open" else deal.outcome == "won" for deal in drawn],
        "amount": [None if deal.amount is None else str(deal.amount) for deal in drawn],
        "currency": [deal.currency for deal in drawn],
        "closed_on": [None if deal.closed is None else moment(deal.closed // 1).date() for deal in drawn],
        "account_id": [deal.account for deal in drawn],
        "deal_type": [deal.type for deal in drawn],
        "lead_created_at": [moment(deal.lead) for deal in drawn],
        **{name: [deal.segments.get(name) for deal in drawn] for name in ("Region", "Size")},
    }
    touched = [(deal, touch) for deal in drawn for touch in (*deal.touches, *deal.direct)]
    touches = {
        "deal_id": [deal.id for deal, _ in touched],
        "id": [f"{touch.record}" for _, touch in touched],
        "occurred_at": [moment(touch.day) for _, touch in touched],
        "recorded_at": [moment(touch.recorded) for _, touch in touched],
        "partner": [touch.partner for _, touch in touched],
        "partner_id": [f"{touch.partner}-id" for _, touch in touched],
        "program": [touch.program for _, touch in touched],
        "kind": [touch.kind for _, touch in touched],
        "strength": [touch.strength for _, touch in touched],
        "role": [touch.role for _, touch in touched],
        "approval": [None if touch.approval == "none" else touch.approval for _, touch in touched],
        "approved_at": [moment(touch.approved) for _, touch in touched],
        "expires_at": [
            None if touch.expires is None else moment(touch.expires) - timedelta(microseconds=1)
            for _, touch in touched
        ],
        "recorded_by_owner": [bool(touch.flags & 64) for _, touch in touched],
        "is_direct": [touch.partner == "direct" for _, touch in touched],
    }
    return deals, touches


def simple(drawn):
    """The same paths without what no frame can say."""
    for deal in drawn:
        deal.closed_on = deal.lead_source = deal.reopened = None
        for touch in deal.touches:
            touch.flags = 32 | touch.flags & 64
            touch.hosts, touch.reach, touch.tier = [], None, None
    return drawn


def documents(deals):
    for of in ("won", "all"):
        credit = [attribute(deals, Linear(), of=of, pool=pool) for pool in ("partners", "all")]
        measures = sourced(deals, of), influenced(deals, of), *credit
        for by in (("partner",), ("partner", "program"), ("deal_type",)):
            for measure in measures:
                document = measure.by(*by).to_dict()
                # a program of a frame has no id but its name
                rows = [{k: v for k, v in row.items() if k != "program_id"} for row in document["rows"]]
                yield {**document, "rows": rows, "mapping_hash": None, "currency": None}


@settings(max_examples=80, deadline=None)
@given(paths().map(simple), POLICIES, st.randoms())
def test_frames_say_what_the_notation_says(drawn, policy, shuffler):
    direct = deals_of(drawn, AS_OF, policy, ZONE)
    deals, touches = frames_of(drawn)
    as_of = from_micros(instant(AS_OF))
    expected = list(documents(direct))
    tables = polars.DataFrame(deals, strict=False), polars.DataFrame(touches, strict=False)
    orders = [shuffler.sample(range(len(table)), len(table)) for table in tables]
    for pair in (tables, [table[order] for table, order in zip(tables, orders, strict=True)]):
        made = Deals.from_frames(*pair, as_of=as_of, policy=policy, zone=ZONE)
        assert list(documents(made)) == expected


def test_stages_come_in_the_order_in_which_most_deals_entered_them():
    told = [("d1", "A", 1), ("d1", "C", 2), ("d2", "A", 1), ("d2", "B", 2), ("d2", "C", 3), ("d2", "B", 4)]
    deals = Deals.from_frames(
        {
            "id": ["d1", "d2"],
            "created_at": [datetime(2026, 1, 1, tzinfo=UTC)] * 2,
            "closed_at": [None] * 2,
            "is_won": [None] * 2,
        },
        {"deal_id": [], "occurred_at": [], "partner": []},
        {
            "deal_id": [deal for deal, _, _ in reversed(told)],
            "stage": [stage for _, stage, _ in reversed(told)],
            "entered_at": [datetime(2026, 1, at, tzinfo=UTC) for _, _, at in reversed(told)],
        },
        as_of=datetime(2026, 1, 9, tzinfo=UTC),
    )
    spells, stages = deals.snapshot.spells, deals.snapshot.stages
    assert [stages[code].name for code in spells.stage] == ["A", "C", "A", "B", "C", "B"]
    places = {stage.name: stage.place for stage in stages}
    assert places["A"] < places["B"] < places["C"]
    assert places["(unknown)"] is None
