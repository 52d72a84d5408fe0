"""The org on loopback that tests of the wire begin with, and a client of it that never waits."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from attribution.sync.salesforce import Salesforce
from attribution.testing import Org

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
"""What the clock of the org says at first."""


def connect(org: Org, **options: Any) -> Salesforce:
    """A client of the org; options as of ``Salesforce``."""
    usual: dict[str, Any] = {"retry_base_seconds": 0, "bulk_poll_seconds": 0, "sleep": lambda _: None}
    return Salesforce(instance_url=org.url, access_token=org.token, **(usual | options))
