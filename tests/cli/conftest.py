"""A command line and an org to point it at."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from attribution import Store
from attribution.cli import main
from attribution.testing import fill, generate


@dataclass
class Cli:
    capture: pytest.CaptureFixture[str]

    def __call__(self, *words: object) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of one command."""
        code = main([str(word) for word in words])
        captured = self.capture.readouterr()
        return code, captured.out, captured.err

    def json(self, *words: object, code: int = 0) -> dict:
        """The document that a command prints; nothing else may stand on stdout."""
        got, out, err = self(*words, "--json")
        assert got == code, (got, out, err)
        return json.loads(out)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


@pytest.fixture
def org(monkeypatch: pytest.MonkeyPatch):
    """A generated org of 120 opportunities, which the environment points to."""
    with generate(120, seed=11).org() as org:
        for name, value in org.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("ATTRIBUTION_RETRY_BASE_SECONDS", "0")
        monkeypatch.setenv("ATTRIBUTION_BULK_POLL_SECONDS", "0")
        yield org
    org.close()


@pytest.fixture(scope="package")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A filled store, to be read only."""
    store = Store(tmp_path_factory.mktemp("filled") / "acme")
    fill(store, 60)
    return store.path
