"""What holds for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from attribution.testing import Org

# how long an example takes depends on what else the machine is doing
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")


@pytest.fixture
def org(monkeypatch: pytest.MonkeyPatch) -> Iterator[Org]:
    """An empty org on loopback, which the environment points to; a module's own ``org`` furnishes it."""
    # only tests of the wire need what these load
    from attribution.testing import Org
    from tests.loopback import NOON

    with Org(now=NOON) as org:
        for name, value in org.environment.items():
            monkeypatch.setenv(name, value)
        # whatever is tried again is tried at once
        monkeypatch.setenv("ATTRIBUTION_RETRY_BASE_SECONDS", "0")
        yield org
    org.close()
