"""Pictures that commands draw beside their tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from attribution.errors import UsageError

__all__ = ["Plot", "check", "draw"]

_ENDINGS = (".html", ".json", ".pdf", ".png", ".svg")

Plot = Annotated[
    Path | None,
    typer.Option(help=f"Also draw it, as {', '.join(_ENDINGS)}.", show_default=False),
]


def check(path: Path | None) -> None:
    """Refuse a file that is no picture, before anything is worked out.

    Raises
    ------
    UsageError
        If its name ends like no picture's.
    """
    if path is not None and path.suffix not in _ENDINGS:
        raise UsageError(f"{path} is no picture", hint=f"end its name in {', '.join(_ENDINGS)}")


def draw(picture: Any, path: Path) -> None:
    """Write a chart of Altair to a file.

    Raises
    ------
    UsageError
        If the file cannot be written.
    """
    try:
        picture.save(str(path), **({"scale_factor": 2} if path.suffix == ".png" else {}))
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", hint="check the path") from None
