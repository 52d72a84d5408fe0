"""The command line: ``attribution COMMAND``. See ``attribution --help``."""

from attribution.cli.main import main

__all__ = ["main"]
