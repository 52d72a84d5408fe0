"""Fill a store directly, without a CRM and without the wire, for benchmarks and large tests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import polars as pl

from attribution.errors import StoreError
from attribution.mirror.coverage import Coverage
from attribution.mirror.log import ObjectLog
from attribution.readings import readings
from attribution.testing.filled.base import Base
from attribution.testing.filled.deals import Deals
from attribution.testing.filled.touches import Touches
from attribution.testing.synthetic.schema import all_objects, schema_of, settings_of

if TYPE_CHECKING:
    from attribution.store import Store

__all__ = ["fill"]

_NOW: Final = datetime(2026, 11, 20, 12, tzinfo=UTC)


def fill(
    store: Store, opportunities: int, *, seed: int = 0, touches: float = 10.0, partners: int = 200
) -> None:
    """Write a seeded org into an empty store: as many opportunities as asked for, and their evidence.

    The store gets every object that its mapping reads, and an ``attribution.toml`` with that mapping:
    partner lookups, deal registrations, overlaps, a junction object, several currencies.

    Parameters
    ----------
    store
        A store that holds nothing yet.
    opportunities
        Number of opportunities; everything else is in proportion.
    seed
        Equal seeds give equal stores.
    touches
        Touch records per opportunity, over all sources together.
    partners
        Number of partner accounts.

    Raises
    ------
    StoreError
        If the store already belongs to an organization.

    Examples
    --------
    >>> import tempfile
    >>> from attribution import Store
    >>> from attribution.testing import fill
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = Store(folder)
    ...     fill(store, 50)
    ...     store.rows("Opportunity").height
    50
    """
    if store.organization_id is not None:
        raise StoreError(f"{store.path} is in use already", hint="fill an empty or a new folder")
    base = Base(_NOW, opportunities, seed, max(partners, 1))
    store.claim(base.ids("00D", 1)[0])
    settings = settings_of(mapped=True, by_contact=False, amount_field="Amount", currency="USD")
    schema = schema_of(
        partner_licences=True, multi_currency=True, mapped=True, by_contact=False, amount_field="Amount"
    )
    objects = all_objects(schema)
    (store.path / "attribution.toml").write_text(settings, encoding="utf-8")
    frames: dict[str, Callable[[], pl.DataFrame]] = base.frames()
    deals = Deals(base)
    frames |= deals.frames()
    frames |= Touches(base, deals, touches).frames()
    read = readings(store.mapping)
    for name, frame in frames.items():
        # One object at a time: only the codes that others point to stay in memory.
        rows = frame()
        refers_to = {field.name: field.reference_to for field in objects[name].fields if field.reference_to}
        where = read[name].where if name in read else None
        coverage = Coverage(tuple(rows.columns), where, refers_to)
        ObjectLog(store.path / "mirror", name).append(rows, synced_at=_NOW, watermark=_NOW, coverage=coverage)
