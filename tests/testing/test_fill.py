"""A filled store holds what a mapping reads, in believable proportions, and the truth can be told of it."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest

from attribution import Store
from attribution.columns import KINDS
from attribution.errors import StoreError
from attribution.readings import readings
from attribution.testing import fill
from attribution.testing.truth import Rules, known_truth

MAPPED = ("Deal_Registration__c", "Partner_Influence__c", "Overlap__c")
TOUCHES = (
    *("Partner", "Lead", "CampaignMember", "OpportunityContactRole", "Event", "EventRelation", "Task"),
    *("TaskRelation", *MAPPED),
)


def filled(folder: Path, opportunities: int, seed: int = 0) -> dict[str, pl.DataFrame]:
    store = Store(folder)
    fill(store, opportunities, seed=seed, partners=20)
    return {each.name: store.rows(each.name) for each in (folder / "mirror").iterdir()}


@cache
def example() -> dict[str, pl.DataFrame]:
    with TemporaryDirectory() as folder:
        return filled(Path(folder), 400)


@cache
def mapping():
    with TemporaryDirectory() as folder:
        fill(Store(folder), 1)
        return Store(folder).mapping


def test_every_object_that_the_mapping_reads_is_there_with_the_fields_it_needs():
    for reading in readings(mapping()).values():
        assert set(reading.needed) <= set(example()[reading.object].columns), reading.object


def test_there_are_ten_touch_records_for_each_opportunity():
    sizes = {name: example()[name].height for name in TOUCHES}
    assert sum(sizes.values()) == 4000
    assert min(sizes.values()) >= 40


def test_ids_are_unique_and_references_point_at_rows():
    known = set(pl.concat([frame["Id"] for frame in example().values()]))
    assert len(known) == sum(frame.height for frame in example().values())
    lookups = ("AccountId", "ContactId", "WhoId", "WhatId", "RelationId", "Partner_Account__c", "LeadId")
    for frame in example().values():
        for name in set(lookups) & set(frame.columns):
            assert set(frame[name].drop_nulls()) <= known


def test_equal_seeds_give_equal_stores(tmp_path):
    one, two, other = (filled(tmp_path / name, 30, seed) for name, seed in (("1", 5), ("2", 5), ("3", 6)))
    assert all(one[name].equals(two[name]) for name in one)
    assert not one["Event"].equals(other["Event"])


@pytest.mark.parametrize("opportunities", [0, 1, 2])
def test_any_size(tmp_path, opportunities):
    assert filled(tmp_path / "store", opportunities)["Opportunity"].height == opportunities


def test_a_store_in_use_is_left_alone(tmp_path):
    fill(Store(tmp_path / "store"), 1)
    with pytest.raises(StoreError, match="in use"):
        fill(Store(tmp_path / "store"), 1)


def test_every_kind_of_touchpoint_occurs_and_customers_take_part_too():
    records = {name: frame.to_dicts() for name, frame in example().items()}
    as_of = max(row["SystemModstamp"] for row in records["Opportunity"]) + timedelta(days=30)
    truth = known_truth(records, as_of=as_of, policy=Rules().under(mapping()))
    kinds = Counter(point.kind for deal in truth.deals.values() for point in deal.touchpoints)
    assert set(kinds) == {*KINDS, "advisory"} - {"handed_over"}
    assert truth.currency == "USD"
    assert truth.excluded_deals
    on_deals = sum(kinds.values()) + len(truth.ambiguous) + len(truth.orphans)
    assert 1600 < on_deals < 3200  # the other records are of customers, or add people to a meeting
