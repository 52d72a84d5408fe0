"""SOQL: what it means, what is refused, and that WHERE agrees with plain Python."""

import json
import operator
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.testing import Org
from attribution.testing.messages import ApiError, Request
from attribution.testing.queries import compiled
from attribution.testing.rest import Rest

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)

OPPORTUNITIES: list[dict[str, Any]] = [
    {
        "Name": "alpha",
        "Amount": 100,
        "CloseDate": date(2026, 6, 30),
        "StageName": "Closed Won",
        "Type": "New",
    },
    {
        "Name": "Beta",
        "Amount": 250.5,
        "CloseDate": date(2026, 6, 29),
        "StageName": "Closed Lost",
        "Type": None,
    },
    {
        "Name": "GAMMA",
        "Amount": None,
        "CloseDate": date(2026, 7, 15),
        "StageName": "Prospecting",
        "Type": "new",
    },
    {
        "Name": "50% off",
        "Amount": -3,
        "CloseDate": date(2025, 1, 1),
        "StageName": "Prospecting",
        "Type": "Renewal",
    },
    {
        "Name": 'd\'Or "x"',
        "Amount": 0,
        "CloseDate": date(2026, 1, 1),
        "StageName": "Closed Won",
        "Type": "Other",
    },
]


@pytest.fixture(scope="module")
def org() -> Iterator[Org]:
    org = Org(now=NOW, organization={"TimeZoneSidKey": "UTC"})
    globex, initech = org.insert("Account", [{"Name": "Globex"}, {"Name": "Initech"}])
    owners = [globex, globex, initech, None, initech]
    rows = [
        row | {"AccountId": account, "CreatedDate": NOW - timedelta(days=40 * index)}
        for index, (row, account) in enumerate(zip(OPPORTUNITIES, owners, strict=True))
    ]
    org.load({"Opportunity": rows})
    yield org
    org.close()


def ask(org: Org, soql: str, *, resource: str = "query") -> dict[str, Any]:
    request = Request("GET", f"/services/data/v68.0/{resource}", {"q": soql}, {}, b"")
    answer: dict[str, Any] = json.loads(Rest(org).answer(request).body)
    return answer


def names(org: Org, where: str) -> list[str]:
    records = ask(org, f"SELECT Name FROM Opportunity WHERE {where} ORDER BY CreatedDate DESC")["records"]
    return [record["Name"] for record in records]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("Name = 'ALPHA'", [0]),
        ("Name != 'alpha'", [1, 2, 3, 4]),
        ("Type = 'new'", [0, 2]),
        ("Type != 'new'", [1, 3, 4]),
        ("Type NOT IN ('new', 'other')", [1, 3]),
        ("Type IN ('new', null)", [0, 1, 2]),
        ("Type = null", [1]),
        ("Type != NULL", [0, 2, 3, 4]),
        ("Type = ''", [1]),
        ("Amount = null", [2]),
        ("Amount > 0", [0, 1]),
        ("Amount >= 0", [0, 1, 4]),
        ("Amount < 2.505e2", [0, 3, 4]),
        ("Amount != 100", [1, 2, 3, 4]),
        ("NOT Amount > 0", [2, 3, 4]),
        ("NOT (Amount > 0 OR Type = null)", [2, 3, 4]),
        ("Name LIKE 'a%'", [0]),
        ("Name LIKE '%A'", [0, 1, 2]),
        ("Name LIKE '_ETA'", [1]),
        (r"Name LIKE '%\%%'", [3]),
        (r"Name = 'd\'or \"x\"'", [4]),
        ("IsWon = true", [0, 4]),
        ("IsClosed != true", [2, 3]),
        ("CloseDate = TODAY", [0]),
        ("CloseDate = 2026-06-29", [1]),
        ("CloseDate > TODAY", [2]),
        ("CloseDate = LAST_N_DAYS:1", [0, 1]),
        ("CloseDate = NEXT_N_DAYS:15", [2]),
        ("CloseDate = THIS_YEAR", [0, 1, 2, 4]),
        ("CloseDate = LAST_QUARTER", [4]),
        ("CloseDate < THIS_YEAR", [3]),
        ("CreatedDate = TODAY", [0]),
        ("CreatedDate >= 2026-05-21T12:00:00Z", [0, 1]),
        ("CreatedDate > 2026-05-21T14:00:00+02:00", [0]),
        ("CALENDAR_YEAR(CloseDate) = 2025", [3]),
        ("CALENDAR_MONTH(CreatedDate) = 6", [0]),
        ("Account.Name = 'globex'", [0, 1]),
        ("Account.Name != 'globex'", [2, 3, 4]),
        ("Opportunity.Account.Owner.LastName = 'Integration'", [0, 1, 2, 4]),
        ("AccountId IN (SELECT Id FROM Account WHERE Name LIKE 'I%')", [2, 4]),
        ("AccountId NOT IN (SELECT Id FROM Account WHERE Name LIKE 'I%')", [0, 1, 3]),
        ("Id IN (SELECT OpportunityId FROM OpportunityHistory)", []),
        ("(Amount = 100 OR Amount = 0) AND Type = 'Other'", [4]),
        ("AMOUNT = 100 and (type = 'new' or type = null)", [0]),
    ],
)
def test_where(org: Org, where: str, expected: list[int]) -> None:
    assert names(org, where) == [OPPORTUNITIES[index]["Name"] for index in expected]


@pytest.mark.parametrize(
    ("soql", "code", "message"),
    [
        ("SELECT Nope FROM Account", "INVALID_FIELD", "No such column 'Nope' on entity 'Account'"),
        ("SELECT Id FROM Nope", "INVALID_TYPE", "sObject type 'Nope' is not supported"),
        ("SELECT Nope.Name FROM Opportunity", "INVALID_FIELD", "Didn't understand relationship 'Nope'"),
        ("SELECT Id FORM Account", "MALFORMED_QUERY", "unexpected token: 'Account'"),
        ("SELECT Id FROM Account WHERE", "MALFORMED_QUERY", "unexpected token: '<EOF>'"),
        ("SELECT Id FROM Account WHERE Id = 'a' AND Name = 'b' OR Name = 'c'", "MALFORMED_QUERY", "'OR'"),
        ("SELECT Id FROM Account WHERE Name = 'open", "MALFORMED_QUERY", "unexpected token"),
        (r"SELECT Id FROM Account WHERE Name = '\q'", "MALFORMED_QUERY", "Illegal escape"),
        ("SELECT Id FROM Account WHERE Name = 5", "INVALID_FIELD", "should be enclosed in quotes"),
        ("SELECT Id FROM Opportunity WHERE Amount = '5'", "INVALID_FIELD", "must be of type double"),
        ("SELECT Id FROM Opportunity WHERE CloseDate = 2026-01-01T00:00:00Z", "INVALID_FIELD", "type date"),
        ("SELECT Id FROM Opportunity WHERE CreatedDate = 2026-01-01", "INVALID_FIELD", "type dateTime"),
        ("SELECT Id FROM Opportunity WHERE CloseDate = 2026-02-30", "MALFORMED_QUERY", "2026-02-30"),
        (
            "SELECT Id FROM Opportunity WHERE Id = 'short'",
            "INVALID_QUERY_FILTER_OPERATOR",
            "invalid ID field",
        ),
        ("SELECT Id FROM Opportunity WHERE Id LIKE '006%'", "INVALID_QUERY_FILTER_OPERATOR", "on id field"),
        (
            "SELECT Id FROM Opportunity WHERE IsWon > true",
            "INVALID_QUERY_FILTER_OPERATOR",
            "on boolean field",
        ),
        ("SELECT Id FROM Opportunity WHERE Amount > null", "INVALID_QUERY_FILTER_OPERATOR", "null"),
        ("SELECT Id FROM Opportunity WHERE Description = 'x'", "INVALID_FIELD", "can not be filtered"),
        ("SELECT Id FROM Opportunity ORDER BY Description", "MALFORMED_QUERY", "can not be sorted"),
        (
            "SELECT Amount, COUNT(Id) FROM Opportunity GROUP BY Amount",
            "MALFORMED_QUERY",
            "can not be grouped",
        ),
        ("SELECT Name, COUNT(Id) FROM Opportunity", "MALFORMED_QUERY", "must be grouped"),
        ("SELECT SUM(Name) FROM Opportunity", "MALFORMED_QUERY", "does not support aggregate"),
        ("SELECT Id, Id FROM Opportunity", "INVALID_FIELD", "duplicate field selected: Id"),
        ("SELECT Id x FROM Opportunity", "MALFORMED_QUERY", "aliasing"),
        ("SELECT Id FROM Opportunity OFFSET 2001", "NUMBER_OUTSIDE_VALID_RANGE", "2000"),
        ("SELECT FIELDS(ALL) FROM Opportunity LIMIT 5", "MALFORMED_QUERY", "ALL"),
        ("SELECT Id, (SELECT Id FROM Contacts) FROM Account", "MALFORMED_QUERY", "unexpected token: '('"),
        ("SELECT TYPEOF Who WHEN Lead THEN Id END FROM Event", "MALFORMED_QUERY", "unexpected token"),
        ("SELECT Id FROM Opportunity FOR VIEW", "MALFORMED_QUERY", "FOR"),
        ("SELECT Id FROM Opportunity HAVING COUNT(Id) > 1", "MALFORMED_QUERY", "HAVING"),
        ("SELECT Id FROM Opportunity WHERE Amount = USD5000", "MALFORMED_QUERY", "USD5000"),
        (
            "SELECT Id FROM Opportunity WHERE CloseDate = LAST_FISCAL_YEAR",
            "MALFORMED_QUERY",
            "LAST_FISCAL_YEAR",
        ),
        ("SELECT Who.Name FROM Event", "INVALID_FIELD", "relationship 'Who'"),
        ("SELECT Id FROM Opportunity; DROP TABLE Account", "MALFORMED_QUERY", "';"),
    ],
)
def test_what_is_refused(org: Org, soql: str, code: str, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        compiled(org, soql, include_deleted=False)
    assert caught.value.response.status == 400
    body = caught.value.response.body.decode()
    assert f'"errorCode":"{code}"' in body
    assert message in body.replace('\\"', '"')


def test_errors_point_at_the_place(org: Org) -> None:
    with pytest.raises(ApiError) as caught:
        compiled(org, "SELECT Id,\nNope FROM Account", include_deleted=False)
    expected = r"\nSELECT Id, Nope FROM Account\n           ^\nERROR at Row:2:Column:1\nNo such column 'Nope'"
    assert expected in caught.value.response.body.decode()


def test_order_nulls_limit_and_offset(org: Org) -> None:
    def ordered(order: str) -> list[Any]:
        records = ask(org, f"SELECT Amount FROM Opportunity ORDER BY {order}")["records"]
        return [record["Amount"] for record in records]

    assert ordered("Amount") == [None, -3, 0, 100, 250.5]
    assert ordered("Amount DESC") == [None, 250.5, 100, 0, -3]
    assert ordered("Amount DESC NULLS LAST LIMIT 2") == [250.5, 100]
    assert ordered("Amount ASC NULLS LAST LIMIT 2 OFFSET 3") == [250.5, None]
    assert ordered("Account.Name DESC NULLS LAST, Amount NULLS LAST") == [0, None, 100, 250.5, -3]


def test_aggregates(org: Org) -> None:
    counted = ask(org, "SELECT COUNT() FROM Opportunity WHERE Amount >= 0")
    assert counted == {"totalSize": 3, "done": True, "records": []}
    assert ask(org, "SELECT COUNT() FROM Opportunity LIMIT 2")["totalSize"] == 2
    (row,) = ask(org, "SELECT COUNT(Id), COUNT(Amount) n, SUM(Amount), MIN(CloseDate) FROM Opportunity")[
        "records"
    ]
    del row["attributes"]
    assert row == {"expr0": 5, "n": 4, "expr1": 347.5, "expr2": "2025-01-01"}
    grouped = ask(
        org, "SELECT Type, COUNT(Id) n FROM Opportunity GROUP BY Type ORDER BY COUNT(Id) DESC, Type"
    )
    assert [(row["Type"], row["n"]) for row in grouped["records"]][:2] == [("New", 2), (None, 1)]
    assert grouped["records"][0]["attributes"] == {"type": "AggregateResult"}
    months = ask(
        org,
        "SELECT CALENDAR_YEAR(CreatedDate) y, CALENDAR_MONTH(CreatedDate) m, COUNT(Id) FROM Opportunity "
        "GROUP BY CALENDAR_YEAR(CreatedDate), CALENDAR_MONTH(CreatedDate) "
        "ORDER BY CALENDAR_YEAR(CreatedDate), CALENDAR_MONTH(CreatedDate)",
    )
    assert [(row["y"], row["m"], row["expr0"]) for row in months["records"]] == [
        (2026, 1, 1),
        (2026, 3, 1),
        (2026, 4, 1),
        (2026, 5, 1),
        (2026, 6, 1),
    ]
    assert ask(org, "SELECT COUNT_DISTINCT(Type) FROM Opportunity")["records"][0]["expr0"] == 3
    accounts = ask(org, "SELECT Account.Name, COUNT(Id) FROM Opportunity GROUP BY Account.Name")["records"]
    assert {row["Name"]: row["expr0"] for row in accounts} == {"Globex": 2, "Initech": 2, None: 1}


def test_parents_are_nested_and_may_be_missing(org: Org) -> None:
    records = ask(
        org, "select id, account.name, ACCOUNT.OWNER.ID from opportunity order by Amount nulls last"
    )["records"]
    assert records[0]["Account"] is None
    account = records[1]["Account"]
    assert account["attributes"]["type"] == "Account"
    assert account["attributes"]["url"].startswith("/services/data/v68.0/sobjects/Account/001")
    assert account["Name"] == "Initech"
    assert account["Owner"]["Id"] == org.state.user_id


def test_ids_are_case_sensitive_and_may_be_short(org: Org) -> None:
    row = org.rows("Opportunity")[0]
    assert names(org, f"Id = '{row['Id'][:15]}'") == [row["Name"]]
    assert names(org, f"Id = '{row['Id'].swapcase()}'") == []
    assert len(names(org, f"Id > '{row['Id']}'")) == 4


def test_relative_dates_follow_the_org_zone() -> None:
    org = Org(now=datetime(2026, 7, 1, 3, tzinfo=UTC), organization={"TimeZoneSidKey": "America/Los_Angeles"})
    org.insert("Account", [{"Name": "Globex", "CreatedDate": datetime(2026, 6, 30, 8, tzinfo=UTC)}])
    assert ask(org, "SELECT COUNT() FROM Account WHERE CreatedDate = TODAY")["totalSize"] == 1
    assert ask(org, "SELECT COUNT() FROM Account WHERE CreatedDate = YESTERDAY")["totalSize"] == 0
    org.close()


# -- a law: WHERE means what the same condition means in plain Python

FIELDS = {"Name": "text", "Type": "text", "Amount": "number", "CloseDate": "date", "IsPrivate": "boolean"}
TEXTS = st.sampled_from(["a", "A", "ab", "B", "%", "_", "a'b", "x\\y", "é", "É", "10", "null"])
NUMBERS = st.sampled_from([Decimal(-2), Decimal(0), Decimal("0.5"), Decimal(3), Decimal(10)])
DATES = st.sampled_from([date(2025, 12, 31), date(2026, 1, 1), date(2026, 2, 28)])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "text": TEXTS,
    "number": NUMBERS,
    "date": DATES,
    "boolean": st.booleans(),
}
COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def written(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return str(value)


def folded(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


@st.composite
def comparisons(draw: st.DrawFn) -> tuple[str, Any]:
    name = draw(st.sampled_from(sorted(FIELDS)))
    kind = FIELDS[name]
    signs = ["=", "!=", "IN", "NOT IN"] + ([] if kind == "boolean" else [*COMPARE])
    sign = draw(st.sampled_from(signs + (["LIKE"] if kind == "text" else [])))
    possible = VALUES[kind]
    if sign in ("=", "!=", "IN", "NOT IN") and kind != "boolean":
        possible = possible | st.none()
    if sign in ("IN", "NOT IN"):
        values = draw(st.lists(possible, min_size=1, max_size=3))
        soql = f"{name} {sign} ({', '.join(map(written, values))})"
        inside = {folded(value) for value in values}
        return soql, lambda row: (folded(row[name]) in inside) == (sign == "IN")
    if sign == "LIKE":
        pattern = draw(st.sampled_from(["%", "a%", "_", "%b", "A_"]))
        regex = re.compile(pattern.replace("%", ".*").replace("_", "."), re.IGNORECASE | re.DOTALL)
        return (
            f"{name} LIKE '{pattern}'",
            lambda row: row[name] is not None and bool(regex.fullmatch(row[name])),
        )
    value = draw(possible)
    soql = f"{name} {sign} {written(value)}"
    if sign in ("=", "!="):
        return soql, lambda row: (folded(row[name]) == folded(value)) == (sign == "=")
    compare = COMPARE[sign]
    return soql, lambda row: row[name] is not None and compare(folded(row[name]), folded(value))


def grow(inner: st.SearchStrategy[tuple[str, Any]]) -> st.SearchStrategy[tuple[str, Any]]:
    def junction(word: str, parts: list[tuple[str, Any]]) -> tuple[str, Any]:
        soql = f" {word} ".join(f"({text})" for text, _ in parts)
        combine = all if word == "AND" else any
        return soql, lambda row: combine(test(row) for _, test in parts)

    several = st.lists(inner, min_size=2, max_size=3)
    return st.builds(junction, st.sampled_from(["AND", "OR"]), several) | inner.map(
        lambda part: (f"NOT ({part[0]})", lambda row: not part[1](row))
    )


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "Name": TEXTS,
            "Type": TEXTS | st.none(),
            "Amount": NUMBERS | st.none(),
            "CloseDate": DATES,
            "IsPrivate": st.booleans(),
        }
    ),
    max_size=12,
)


@pytest.fixture(scope="module")
def scratch() -> Iterator[Org]:
    org = Org(now=NOW, opportunity_history=False)
    yield org
    org.close()


@settings(max_examples=150, deadline=None)
@given(rows=ROWS, condition=st.recursive(comparisons(), grow, max_leaves=6))
def test_where_agrees_with_python(
    scratch: Org, rows: list[dict[str, Any]], condition: tuple[str, Any]
) -> None:
    for row in scratch.rows("Opportunity"):
        scratch.purge("Opportunity", row["Id"])
    ids = scratch.insert("Opportunity", [row | {"StageName": "Prospecting"} for row in rows])
    soql, test = condition
    found = {record["Id"] for record in ask(scratch, f"SELECT Id FROM Opportunity WHERE {soql}")["records"]}
    assert found == {identity for identity, row in zip(ids, rows, strict=True) if test(row)}
