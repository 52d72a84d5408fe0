"""Text to typed columns: one reading of REST's and of Bulk's spelling, and a reason for what has none."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.sync.bulk import parsed
from attribution.sync.descriptions import FieldDescription, ObjectDescription, ObjectSummary
from attribution.sync.failures import Garbled
from attribution.sync.rest import as_text
from attribution.sync.rows import column_types, is_id, told_types, typed

ID = "00Q000000000001AAA"
OBJECTS = {
    name: ObjectSummary(name, prefix, is_queryable=True)
    for name, prefix in {"Lead": "00Q", "Account": "001", "Opportunity": "006", "History": None}.items()
}
FIELDS = [
    FieldDescription("Id", "id"),
    FieldDescription("AccountId", "reference", ("Account",)),
    FieldDescription("WhoId", "reference", ("Contact", "Lead")),
    FieldDescription("HistoryId", "reference", ("History",)),
    FieldDescription("Amount", "currency"),
    FieldDescription("Rank", "int"),
    FieldDescription("HasResponded", "boolean"),
    FieldDescription("CloseDate", "date"),
    FieldDescription("ActivityDateTime", "datetime"),
    FieldDescription("Name", "string"),
]


def described(object: str) -> ObjectDescription:
    return ObjectDescription(object, {field.name: field for field in FIELDS}, is_replicateable=True)


def page(field: str, *values: str | None, id: str = ID) -> pl.DataFrame:
    schema = {"Id": pl.String(), field: pl.String()}
    return pl.DataFrame({"Id": [id] * len(values), field: values}, schema=schema)


def read(field: str, *values: str | None) -> list[object]:
    result = typed(page(field, *values), described("Lead"), OBJECTS)
    assert result.rejected == ()
    return result.rows[field].to_list()


def test_instants_of_rest_and_of_bulk_are_the_same() -> None:
    spellings = ["2015-06-25T21:54:38.123+0000", "2015-06-25T21:54:38.123Z", "2015-06-25T23:54:38.123+0200"]
    assert set(read("ActivityDateTime", *spellings)) == {datetime(2015, 6, 25, 21, 54, 38, 123000, UTC)}
    assert read("ActivityDateTime", "2015-06-25T21:54:38Z") == [datetime(2015, 6, 25, 21, 54, 38, 0, UTC)]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("9.12260031E8", "912260031"),
        ("0.1", "0.1"),
        ("-0.00", "0"),
        ("1234567.891", "1234567.891"),
        ("1e-3", "0.001"),
        ("12345678901234567.89", "12345678901234567.89"),
    ],
)
def test_numbers_are_exact(text: str, number: str) -> None:
    assert read("Amount", text) == [Decimal(number)]


def test_whole_numbers_flags_and_dates() -> None:
    assert read("Rank", "7", "-7", "1.0E3", "9007199254740993") == [7, -7, 1000, 9007199254740993]
    assert read("HasResponded", "true", "false", "TRUE") == [True, False, True]
    assert read("CloseDate", "2026-02-28", "0001-01-01") == [date(2026, 2, 28), date(1, 1, 1)]


def test_text_is_left_alone() -> None:
    texts = ["NA", "None", "null", "0012", "8.2158e+17", "a\x00b", ' "q"\r\n,', "😀", " "]
    assert read("Name", *texts) == texts


@pytest.mark.parametrize("kind", ["boolean", "datetime"])
@pytest.mark.parametrize("name", ["CreatedDate", "SystemModstamp", "IsDeleted", "IsClosed", "IsWon"])
def test_what_every_record_has_is_missing_where_it_is_null(name: str, kind: str) -> None:
    text = "true" if kind == "boolean" else "2026-06-01T12:00:00.000Z"
    rows = pl.DataFrame({"Id": [ID, ID], name: [None, text]})
    for of, left in (("Lead", 1), ("Opportunity", 2)):
        fields = {"Id": FIELDS[0], name: FieldDescription(name, kind)}
        result = typed(rows, ObjectDescription(of, fields, is_replicateable=True), {})
        assert [each.reason for each in result.rejected] == [f"{name} is missing"]
        assert result.rows.height == left


@pytest.mark.parametrize(
    ("of", "name", "kind"),
    [
        ("Opportunity", "CloseDate", "date"),
        ("Opportunity", "StageName", "picklist"),
        ("CurrencyType", "ConversionRate", "double"),
    ],
)
@pytest.mark.parametrize("is_nillable", [False, True])
def test_what_figures_rest_on_is_missing_where_it_is_described_as_always_there(
    of: str, name: str, kind: str, is_nillable: bool
) -> None:
    fields = {"Id": FIELDS[0], name: FieldDescription(name, kind, is_nillable=is_nillable)}
    rows = pl.DataFrame({"Id": [ID], name: [None]}, schema_overrides={name: pl.String})
    result = typed(rows, ObjectDescription(of, fields, is_replicateable=True), {})
    assert [each.reason for each in result.rejected] == ([] if is_nillable else [f"{name} is missing"])
    # no opportunity is ever missing
    assert result.rows.height == (1 if is_nillable or of == "Opportunity" else 0)


@pytest.mark.parametrize("field", [field.name for field in FIELDS if field.name != "Id"])
def test_nothing_is_null_in_every_type(field: str) -> None:
    names = (field, "Id")
    told, fields = told_types(described("Lead"), names), [described("Lead").fields[name] for name in names]
    quoted, bare = f'"{field}","Id"\n"","{ID}"\n'.encode(), f"{field},Id\n,{ID}\n".encode()
    for page in (
        *(parsed(data, names, types) for data in (quoted, bare) for types in (told, {})),
        as_text([{field: "", "Id": ID}], fields),
        as_text([{field: None, "Id": ID}], fields),
    ):
        result = typed(page, described("Lead"), OBJECTS)
        assert result.rejected == ()
        assert result.rows.to_dicts() == [{field: None, "Id": ID}]


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("Amount", "1,5", "Amount: '1,5' is no currency"),
        ("Amount", "NaN", "Amount: 'NaN' is no currency"),
        ("Amount", "1E30", "Amount: '1E30' is no currency"),
        ("Rank", "1.5", "Rank: '1.5' is no int"),
        ("HasResponded", "yes", "HasResponded: 'yes' is no boolean"),
        ("CloseDate", "2026-02-30", "CloseDate: '2026-02-30' is no date"),
        ("ActivityDateTime", "yesterday", "ActivityDateTime: 'yesterday' is no datetime"),
        ("CloseDate", "26-07-31", "CloseDate: '26-07-31' is no date"),
        ("CloseDate", "0000-01-01", "CloseDate: '0000-01-01' is no date"),
        ("CloseDate", "-005-01-01", "CloseDate: '-005-01-01' is no date"),
        ("CloseDate", "10000-01-01", "CloseDate: '10000-01-01' is no date"),
        ("CloseDate", "2026-1-1", "CloseDate: '2026-1-1' is no date"),
        ("CloseDate", "+2026-01-1", "CloseDate: '+2026-01-1' is no date"),
        ("CloseDate", " 026-01-01", "CloseDate: ' 026-01-01' is no date"),
        ("CloseDate", "2026- 1- 1", "CloseDate: '2026- 1- 1' is no date"),
        ("CloseDate", "2026-01-01Z", "CloseDate: '2026-01-01Z' is no date"),
        *(
            ("ActivityDateTime", text, f"ActivityDateTime: '{text}' is no datetime")
            for text in (
                "26-07-31T12:00:00.000Z",
                "+026-07-31T12:00:00.000Z",
                " 026-07-31T12:00:00.000Z",
                "2026-7-31T12:00:00.000Z",
                "-005-01-01T12:00:00.000Z",
                "0001-01-01T00:00:00.000+2300",
                "9999-12-31T23:59:59.000-1200",
            )
        ),
        (
            "AccountId",
            "00q000000000001AAA",
            "AccountId: '00q000000000001AAA' is an id of another object: it does not begin with 001",
        ),
    ],
)
def test_what_cannot_be_read_has_a_reason(field: str, value: str, reason: str) -> None:
    result = typed(page(field, value, None), described("Lead"), OBJECTS)
    assert [(each.object, each.id, each.reason) for each in result.rejected] == [("Lead", ID, reason)]
    assert result.rows.height == 1


def test_ids_are_not_judged_where_the_prefix_is_unknown_or_the_lookup_polymorphic() -> None:
    assert read("WhoId", "anything") == ["anything"]
    assert read("HistoryId", "anything") == ["anything"]


@pytest.mark.parametrize("own", [None, "00Q1", "001000000000001AAA", "00Q00000000000!AAA"])
def test_a_row_without_a_readable_id_of_its_object_is_only_reported(own: str | None) -> None:
    for name in ("Lead", "Opportunity"):
        text = pl.DataFrame({"Id": [own], "Name": ["x"]}, schema={"Id": pl.String(), "Name": pl.String()})
        result = typed(text, described(name), OBJECTS)
        assert result.rows.is_empty()
        assert [each.id for each in result.rejected] == [own]


def test_an_id_is_all_of_its_text() -> None:
    assert is_id("006000000000001")
    assert is_id("006000000000001AAA", "006")
    assert not any(map(is_id, (None, "", "006000000000001AAA\n", "006000000000001AA", "00600000000000é")))
    assert not is_id("001000000000001AAA", "006")


def test_an_opportunity_stays_without_the_field_that_cannot_be_read() -> None:
    text = page("Amount", "ten", "10", id="006000000000001AAA").with_columns(pl.lit("x").alias("AccountId"))
    result = typed(text, described("Opportunity"), OBJECTS)
    assert result.rows.rows() == [
        ("006000000000001AAA", None, None),
        ("006000000000001AAA", Decimal(10), None),
    ]
    assert [each.reason.count(";") for each in result.rejected] == [1, 0]


def test_a_long_unreadable_value_is_not_repeated_whole() -> None:
    result = typed(page("Amount", "x" * 10_000), described("Lead"), OBJECTS)
    assert len(result.rejected[0].reason) < 100


@pytest.mark.parametrize("values", [(), ("1",)])
def test_types_are_the_same_however_many_rows_there_are(values: Sequence[str]) -> None:
    result = typed(page("Rank", *values), described("Lead"), OBJECTS)
    assert dict(result.rows.schema) == column_types(described("Lead"), ("Id", "Rank"))


NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, places=3).map(str) | st.floats(width=32).map(
    repr
)
# a blank before a number is let pass by the parser alone
ODD = st.text(st.sampled_from('0189eE.,+-truefalsNT"\n\0\u00e9'), max_size=8)
ROWS = st.lists(
    st.tuples(
        NUMBERS | ODD | st.just(""),
        st.sampled_from(["true", "false", "True", "TRUE", "1", ""]) | ODD,
        ODD,
        st.sampled_from([ID, "001000000000001AAA", "00Q-00000000001AAA"]),
    ),
    max_size=4,
)


@given(rows=ROWS)
def test_the_parser_reads_numbers_and_flags_as_we_do(rows: list[tuple[str, ...]]) -> None:
    names = ("Amount", "HasResponded", "Name", "Id")
    written = io.StringIO()
    csv.writer(written, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([names, *rows])
    data = written.getvalue().encode()
    for name in ("Lead", "Opportunity"):
        slow = typed(parsed(data, names, {}), described(name), OBJECTS)
        fast = typed(parsed(data, names, told_types(described(name), names)), described(name), OBJECTS)
        assert fast.rows.equals(slow.rows)
        assert fast.rejected == slow.rejected


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"<html>\n<body>502 Bad Gateway</body>\n",
        b'"Name","Id"',
        b'"Id","Name"\n',
        b'"Name","Name"\n',
        b'"Name","Id","Id"\n',
        b'"Name","Id"\n"x"\n',
        b'"Name","Id"\n"x","00Q000000000001AAA","y"\n',
        b'"Name","Id"\n"x","00Q000000000001AAA\n',
        b'"Name","Id"\n"x","00Q000000000001AAA""\n',
        b'"Name","Id"\n"x\n',
        b'"Name","Id"\n"x",""\n',
        b'"Name","Id"\n"\xff","00Q000000000001AAA"\n',
        b"\x1f\x8b\x08\x00\n",
        b'"Name","Id"\n"a"zz,"00Q000000000001AAA"\n',
        b'"Name","Id"\n"1"2,"00Q000000000001AAA"\n',
        b'"Name","Id"\nx","00Q000000000001AAA"\n"y","00Q000000000002AAA"\n',
        b'"Name","Id"\n"x"y","00Q000000000001AAA"\n',
        b'"Na"me","Id"\n"x","00Q000000000001AAA"\n',
    ],
)
def test_what_is_no_page_is_none(data: bytes) -> None:
    with pytest.raises(Garbled):
        parsed(data, ("Name", "Id"), told_types(described("Lead"), ("Name", "Id")))


PIECES = st.sampled_from(
    ["a", '"', '","', '"\n"', ",", "\n", "\r", "\r\n", "\u00e9", "\U0001f600", "\0", " "]
)
LONG = 1 << 20


@given(
    names=st.lists(st.lists(PIECES, max_size=9).map("".join), max_size=12),
    ending=st.sampled_from(["\n", "\n", "\r\n"]),
    fill=st.integers(0, LONG - 100) | st.integers(LONG - 100, LONG),
)
@settings(max_examples=60)
def test_a_page_is_read_as_csv_reads_it(names: list[str], ending: str, fill: int) -> None:
    text = io.StringIO()
    # what is parsed at once ends anywhere
    rows = [("Name", "Id"), ("x" * fill, ID), *((name, ID) for name in names)]
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator=ending).writerows(rows)
    page = parsed(text.getvalue().encode(), ("Name", "Id"), {})
    assert page["Name"].to_list() == [name or None for name, _ in rows[1:]]


def test_a_page_that_is_cut_anywhere_is_none_or_lacks_rows() -> None:
    rows = [('Deal "1"\n', "1.5", ID), ("\n", "", ID), ('","', "2", ID)]
    names, text = ("Name", "Amount", "Id"), io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([names, *rows])
    data = text.getvalue().encode()
    for cut in range(len(data)):
        with suppress(Garbled):
            page = parsed(data[:cut], names, told_types(described("Lead"), names))
            assert page.height < len(rows)
