"""What is public, what it costs to import, and that the docs name all of it."""

from __future__ import annotations

import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import attribution
import attribution.testing

ROOT = Path(__file__).parent.parent

EXPECTED = [
    *(
        "AttributionError",
        "AttributionModel",
        "Bootstrap",
        "Credit",
        "CrmError",
        "DataError",
        "Deal",
        "Deals",
        "FirstTouch",
    ),
    *("Influenced", "LastTouch", "Linear", "Mapping", "Policy", "RefusedError", "Salesforce", "Sourced"),
    *("StoppedEarly", "Store", "StoreError", "Table", "Touchpoint", "TransientCrmError", "UsageError"),
    *("Position", "TimeDecay", "Weighted"),
    *("attribute", "ecosystem_graph", "influenced", "sourced"),
    *("Lifecycle", "PartnerEffect", "lifecycle", "partner_effect"),
    "Milestone",
    *("Claim", "Decision", "Explanation", "explain", "waterfall"),
    *("Markov", "RemovalEffects", "Shapley", "removal_effects", "shapley_values", "compare"),
    *("Audit", "WhatIf", "audit", "what_if"),
    *("Overlay", "velocity"),
]


def test_the_public_names_are_these():
    assert attribution.__all__ == sorted(EXPECTED)
    assert all(getattr(attribution, name) is not None for name in EXPECTED)
    assert dir(attribution) == sorted(EXPECTED)


def test_no_public_name_hides_a_module():
    modules = {module.name for module in pkgutil.iter_modules(attribution.__path__)}
    assert not modules & set(attribution.__all__)


def test_docs_name_everything_public():
    pages = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    names = [*attribution.__all__, *attribution.testing.__all__]
    assert [name for name in names if not re.search(rf"\b{name}\b", text)] == []


def test_import_loads_numpy_and_the_standard_library_at_most():
    heavy = ["polars", "pydantic", "deltalake", "networkx", "scipy", "simple_salesforce", "requests"]
    heavy += ["typer", "rich", "pandas"]
    code = f"import sys, attribution; print([name for name in {heavy} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
