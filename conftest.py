"""Examples in README, docs and docstrings are tests."""

from __future__ import annotations

from doctest import ELLIPSIS
from pathlib import Path

import pytest
from hypothesis import settings
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser
from sybil.parsers.rest import DocTestParser

# how long an example takes depends on what else the machine does: benchmarks are for that
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def demo_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small filled store, for examples that need one."""
    from attribution import Store
    from attribution.testing import fill

    folder = tmp_path_factory.mktemp("examples")
    fill(Store(folder / "acme"), 400)
    return folder


@pytest.fixture
def in_demo_folder(demo_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run an example where its store lies."""
    monkeypatch.chdir(demo_store)


pytest_collect_file = (
    Sybil(
        parsers=[PythonCodeBlockParser(doctest_optionflags=ELLIPSIS), SkipParser()],
        patterns=["README.md", "docs/*.md"],
        fixtures=["in_demo_folder"],
    )
    + Sybil(parsers=[DocTestParser(ELLIPSIS)], patterns=["src/attribution/*.py", "src/attribution/**/*.py"])
).pytest()
