"""From mirror rows to a snapshot of deals: pure, without a policy and without a clock."""

from attribution.derive.snapshot import derive

__all__ = ["derive"]
