"""One amount, whichever way it leaves: Python, JSON, CSV, Parquet, polars, pandas, Arrow."""

from __future__ import annotations

import io
import json
from decimal import Decimal

import polars as pl
from hypothesis import given, settings

from attribution import money
from attribution.measures.claims import influenced, sourced
from attribution.measures.comparison import compare
from attribution.measures.credit import attribute
from attribution.measures.explanation import STANDARD, explain
from attribution.measures.removal import removal_effects
from attribution.measures.waterfall import waterfall
from attribution.models import Linear, Markov, TimeDecay
from tests.measures.strategies import AS_OF, ZONE, paths
from tests.notation import deals_of


def tables(deals):
    """Every measure that has money, by partner and as finely as it goes."""
    for of in ("won", "all"):
        yield from (
            sourced(deals, of).by("partner"),
            sourced(deals, of).by("program", "deal_type", "quarter"),
        )
        yield from (influenced(deals, of).by("partner"), influenced(deals, of).by("tier", "parent"))
        for model in (Linear(), TimeDecay(), Markov()):
            yield attribute(deals, model, of=of).by("partner", "program")
        yield from (waterfall(deals, of=of), waterfall(deals, by=("deal_type", "quarter"), of=of))
        yield compare(deals, [Linear(), TimeDecay()], of=of)
    yield removal_effects(deals)
    credit = attribute(deals, Linear(), of="all")
    yield from (credit.of(deal.id) for deal in deals)


@settings(max_examples=25, deadline=None)
@given(drawn=paths(largest=10**15))
def test_every_measure_gives_the_same_cents_in_every_form(tmp_path_factory, drawn):
    deals = deals_of(drawn, AS_OF, None, ZONE)
    digits = money.digits(deals.currency)
    file = tmp_path_factory.getbasetemp() / "cents.parquet"
    for table in tables(deals):
        document = json.loads(json.dumps(table.to_dict()))
        frame, csv = table.to_polars(), pl.read_csv(io.StringIO(table.to_csv()), infer_schema=False)
        table.to_parquet(file)
        parquet, pandas = pl.read_parquet(file), table.to_pandas()
        n = len(table.rows)
        # files have one more row where something is left over
        assert len(csv) == len(parquet) == n + (table.remainder is not None)
        for name in (name for name in table.columns if name.endswith("amount")):
            exact = [row[name] for row in table.rows]
            assert all(type(each) is Decimal and -each.as_tuple().exponent == digits for each in exact)
            shown = name if name in frame.columns else "participation_amount"
            assert [Decimal(row[name]) for row in document["rows"]] == exact
            assert [Decimal(text) for text in csv[shown][:n]] == exact
            assert parquet[shown][:n].to_list() == exact
            assert frame[shown].to_list() == exact == pl.DataFrame(table)[shown].to_list()
            assert pandas[shown].tolist() == exact


@settings(max_examples=25, deadline=None)
@given(drawn=paths())
def test_the_credit_of_an_explanation_is_that_of_the_model(drawn):
    deals = deals_of(drawn, AS_OF, None, ZONE)
    for deal in deals:
        told = explain(deals, deal.id)
        for model, (name, document) in zip(STANDARD, told.to_dict()["credit"].items(), strict=True):
            rows = attribute(deals, model, of="all").of(deal.id).rows
            assert [Decimal(row["amount"]) for row in document["rows"]] == [row["amount"] for row in rows]
            total = sum(Decimal(row["amount"]) for row in document["rows"])
            assert total + Decimal(document["unattributed"]) == (deal.amount or 0)
            assert name in str(told)
