"""A cached snapshot equals the derived one, and is never taken for another."""

from __future__ import annotations

import shutil
from dataclasses import fields
from datetime import UTC, datetime

import numpy as np
import pytest

from attribution import Policy, Store, sourced
from attribution.errors import DataError
from attribution.mirror.cache import Texts
from attribution.testing import fill

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
LATER = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "acme")
    fill(store, 200)
    return store


def entries(store):
    return sorted(each.name for each in (store.path / "cache").iterdir())


def same(one, other):
    for each in fields(one):
        a, b = getattr(one, each.name), getattr(other, each.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype
            assert np.array_equal(a, b), each.name
        elif isinstance(a, tuple) and a and isinstance(a[0], np.ndarray):
            assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
        elif each.name in ("deals", "touchpoints", "stranded", "direct", "spells", "dangling"):
            same(a, b)
        elif each.name != "memo":
            assert tuple(a) == tuple(b) if each.name == "names" else a == b, each.name


@pytest.mark.parametrize("as_of", [None, NOON])
def test_the_second_question_gets_the_same_snapshot_from_disk(store, as_of):
    first, second = store.deals(as_of=as_of), Store(store.path).deals(as_of=as_of)
    assert isinstance(second.snapshot.deals.amount, np.memmap)
    same(first.snapshot, second.snapshot)
    assert list(first) == list(second)
    assert len(entries(store)) == 1


def test_what_was_asked_differs_so_does_the_snapshot(store):
    asked = [{}, {"as_of": NOON}, {"known_at": LATER}]
    for options in asked:
        store.deals(**options)
    assert len(entries(store)) == 3
    store.deals(policy=Policy(influence_window_days=1))
    assert len(entries(store)) == 3


def test_before_the_first_sync_nothing_was_known(store):
    with pytest.raises(DataError, match="known at 2026-11-01") as refused:
        store.deals(known_at=NOON)
    assert "known_at after the first sync" in refused.value.hint


def test_an_import_changes_what_is_derived(store, tmp_path):
    before = len(store.deals().snapshot.stranded) + len(store.deals().snapshot.touchpoints)
    account = store.rows("Opportunity")["AccountId"][0]
    partner = store.deals().partners[0].id
    (tmp_path / "o.csv").write_text(f"partner,account,occurred_on\n{partner},{account},2026-01-01\n")
    store.import_overlaps(tmp_path / "o.csv")
    after = len(store.deals().snapshot.stranded) + len(store.deals().snapshot.touchpoints)
    assert after == before + 1


def test_the_oldest_snapshots_go(store):
    for day in range(1, 7):
        store.deals(as_of=datetime(2026, 6, day, tzinfo=UTC))
    assert len(entries(store)) == 3


@pytest.mark.parametrize("damage", ["truncate", "remove", "garble"])
def test_a_damaged_snapshot_is_derived_again(store, damage):
    expected = sourced(store.deals()).total()
    (entry,) = (store.path / "cache").iterdir()
    if damage == "truncate":
        (entry / "deals.amount.npy").write_bytes(b"")
    elif damage == "remove":
        (entry / "touchpoints.partner.npy").unlink()
    else:
        (entry / "snapshot.json").write_text("{}")
    assert sourced(Store(store.path).deals()).total() == expected


def test_without_a_place_to_write_nothing_is_kept(store):
    shutil.rmtree(store.path / "cache", ignore_errors=True)
    (store.path / "cache").write_text("a file is in the way")
    deals = store.deals()
    assert len(deals) + deals.snapshot.excluded_deals == 200


def test_texts_are_a_sequence():
    texts = Texts.of(["", "Zürich", "東京 1", "x"])
    assert list(texts) == ["", "Zürich", "東京 1", "x"]
    assert (texts[-1], texts[1:3], len(texts)) == ("x", ("Zürich", "東京 1"), 4)
    with pytest.raises(IndexError):
        texts[4]
