"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# how long an example takes depends on what else the machine is doing
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")
