"""Partner attribution for Salesforce: sourced, influenced and multi-touch credit, exact to the cent.

>>> import attribution as at
>>> at.Policy().influence_window_days
365

Names are loaded when first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attribution.columns import Claim, Decision
    from attribution.deals import Deals
    from attribution.errors import (
        AttributionError,
        CrmError,
        DataError,
        RefusedError,
        StoppedEarly,
        StoreError,
        TransientCrmError,
        UsageError,
    )
    from attribution.graph import ecosystem_graph
    from attribution.mapping import Mapping
    from attribution.measures.auditing import Audit, audit
    from attribution.measures.claims import Influenced, Sourced, influenced, sourced
    from attribution.measures.coalitions import shapley_values
    from attribution.measures.comparison import compare
    from attribution.measures.credit import Credit, attribute
    from attribution.measures.economics import lifecycle
    from attribution.measures.effect_table import PartnerEffect
    from attribution.measures.effects import partner_effect
    from attribution.measures.explanation import Explanation, explain
    from attribution.measures.lifecycle_table import Lifecycle
    from attribution.measures.overlay import Overlay
    from attribution.measures.overlays import velocity
    from attribution.measures.removal import RemovalEffects, removal_effects
    from attribution.measures.resampling import Bootstrap
    from attribution.measures.results import Table
    from attribution.measures.sensitivity import WhatIf, what_if
    from attribution.measures.waterfall import waterfall
    from attribution.models import (
        AttributionModel,
        FirstTouch,
        LastTouch,
        Linear,
        Markov,
        Milestone,
        Position,
        Shapley,
        TimeDecay,
        Weighted,
    )
    from attribution.policy import Policy
    from attribution.store import Store
    from attribution.sync.salesforce import Salesforce
    from attribution.views import Deal, Touchpoint

_HOMES = {
    "attribution.columns": ("Claim", "Decision"),
    "attribution.deals": ("Deals",),
    "attribution.errors": (
        *("AttributionError", "CrmError", "DataError", "RefusedError", "StoppedEarly", "StoreError"),
        *("TransientCrmError", "UsageError"),
    ),
    "attribution.graph": ("ecosystem_graph",),
    "attribution.mapping": ("Mapping",),
    "attribution.measures.auditing": ("Audit", "audit"),
    "attribution.measures.claims": ("Influenced", "Sourced", "influenced", "sourced"),
    "attribution.measures.coalitions": ("shapley_values",),
    "attribution.measures.comparison": ("compare",),
    "attribution.measures.credit": ("Credit", "attribute"),
    "attribution.measures.economics": ("lifecycle",),
    "attribution.measures.effect_table": ("PartnerEffect",),
    "attribution.measures.effects": ("partner_effect",),
    "attribution.measures.lifecycle_table": ("Lifecycle",),
    "attribution.measures.resampling": ("Bootstrap",),
    "attribution.measures.overlay": ("Overlay",),
    "attribution.measures.overlays": ("velocity",),
    "attribution.measures.explanation": ("Explanation", "explain"),
    "attribution.measures.removal": ("RemovalEffects", "removal_effects"),
    "attribution.measures.results": ("Table",),
    "attribution.measures.sensitivity": ("WhatIf", "what_if"),
    "attribution.measures.waterfall": ("waterfall",),
    "attribution.models": (
        *("AttributionModel", "FirstTouch", "LastTouch", "Linear", "Markov"),
        *("Milestone", "Position", "Shapley", "TimeDecay", "Weighted"),
    ),
    "attribution.policy": ("Policy",),
    "attribution.store": ("Store",),
    "attribution.sync.salesforce": ("Salesforce",),
    "attribution.views": ("Deal", "Touchpoint"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AttributionError",
    "AttributionModel",
    "Audit",
    "Bootstrap",
    "Claim",
    "Credit",
    "CrmError",
    "DataError",
    "Deal",
    "Deals",
    "Decision",
    "Explanation",
    "FirstTouch",
    "Influenced",
    "LastTouch",
    "Lifecycle",
    "Linear",
    "Mapping",
    "Markov",
    "Milestone",
    "Overlay",
    "PartnerEffect",
    "Policy",
    "Position",
    "RefusedError",
    "RemovalEffects",
    "Salesforce",
    "Shapley",
    "Sourced",
    "StoppedEarly",
    "Store",
    "StoreError",
    "Table",
    "TimeDecay",
    "Touchpoint",
    "TransientCrmError",
    "UsageError",
    "Weighted",
    "WhatIf",
    "attribute",
    "audit",
    "compare",
    "ecosystem_graph",
    "explain",
    "influenced",
    "lifecycle",
    "partner_effect",
    "removal_effects",
    "shapley_values",
    "sourced",
    "velocity",
    "waterfall",
    "what_if",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'attribution' has no attribute {name!r}")
    found: object = getattr(import_module(_HOME[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
