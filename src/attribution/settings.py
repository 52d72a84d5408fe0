"""What ``Policy`` and ``Mapping`` share: frozen, validated, hashed, in TOML."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from attribution.errors import UsageError

__all__ = ["Settings", "read_toml"]


class Settings(BaseModel):
    """A frozen, validated, hashed set of settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits that change when, and only when, a setting changes."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def __hash__(self) -> int:
        return hash(self.hash)

    @classmethod
    def from_table(cls, table: dict[str, Any], where: str) -> Self:
        """Settings of one table of a TOML file.

        Raises
        ------
        UsageError
            If a key is unknown or a value does not suit; names the key and what was wrong.
        """
        try:
            return cls.model_validate(table)
        except ValidationError as error:
            raise UsageError(f"{where}: {_first_fault(error)}", hint=_known_keys(cls)) from None


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises
    ------
    UsageError
        If the file cannot be read or is not TOML; names the line.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}", hint="check the path and its permissions"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}", hint="see the example in the README") from None


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in fault["loc"]) or "table"
    if fault["type"] == "extra_forbidden":
        return f"there is no setting {place!r}"
    return f"{place} = {fault['input']!r}: {fault['msg'].removeprefix('Value error, ')}"


def _known_keys(settings: type[BaseModel]) -> str:
    return f"known settings: {', '.join(sorted(settings.model_fields))}"
