"""What ``Policy`` and ``Mapping`` share: frozen, validated, hashed, in TOML; errors name the line."""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Self, get_args

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from attribution.commented import commented
from attribution.errors import UsageError, known

__all__ = ["Place", "Settings", "TomlFile", "closest", "read_toml", "together"]

_SECTIONS: Final = ("mapping", "policy")
Place = tuple[str | int, ...]
"""Where in a TOML file something stands: keys, and positions in arrays, as in ``("lookups", 0, "field")``."""


def closest(name: str, names: Iterable[str], limit: int = 8) -> str:
    """Name what exists, whatever resembles the wanted name first.

    Examples
    --------
    >>> closest("Submitted__c", ["Id", "Partner__c", "Submitted_On__c"])
    'Submitted_On__c, Partner__c, Id'
    """
    by_lower = {each.lower(): each for each in sorted(names)}

    def likeness(lower: str) -> tuple[float, str]:
        return -difflib.SequenceMatcher(None, name.lower(), lower).ratio(), lower

    ordered = [by_lower[lower] for lower in sorted(by_lower, key=likeness)]
    shown = ", ".join(ordered[:limit])
    return f"{shown}, … ({len(ordered)} in all)" if len(ordered) > limit else shown or "none"


def together(faults: Sequence[UsageError]) -> UsageError:
    """One error that tells of several; one alone is itself.

    Examples
    --------
    >>> print(together([UsageError("a is no number", hint="write 1"), UsageError("b is missing")]))
    a is no number (write 1); b is missing
    """
    if len(faults) == 1:
        return faults[0]
    told = (str(fault) if fault.hint is None else f"{fault} ({fault.hint})" for fault in faults)
    return UsageError("; ".join(told), hint="correct all of them, then run this again")


@dataclass(frozen=True, slots=True)
class TomlFile:
    """A TOML file that was read: its tables, and where in the text each of their keys stands."""

    path: Path
    text: str
    tables: dict[str, Any]

    def line(self, place: Place) -> int:
        r"""Line, from 1, of a key, or of the nearest table around it that the text spells out.

        Examples
        --------
        >>> file = TomlFile(Path("x.toml"), '[mapping]\nsegments = [\n  "A",\n  "B",\n]\n', {})
        >>> file.line(("mapping", "segments", 1)), file.line(("mapping", "nowhere"))
        (4, 1)
        """
        lines = _lines(self.text)
        while place and place not in lines:
            place = place[:-1]
        return lines.get(place, 1)


@dataclass(frozen=True, slots=True)
class _Origin:
    """The table of a file that settings were read from."""

    file: TomlFile
    section: str


class Settings(BaseModel):
    """A frozen, validated, hashed set of settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    section: ClassVar[str] = ""
    """The section of a TOML file that holds them."""
    _origin: _Origin | None = PrivateAttr(default=None)

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits that change when, and only when, a setting changes."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def __hash__(self) -> int:
        return hash(self.hash)

    def __eq__(self, other: object) -> bool:
        # where settings were read from does not make them different
        return type(self) is type(other) and self.__dict__ == other.__dict__

    @classmethod
    def from_toml(cls, path: str | Path) -> Self:
        """Read the settings from their section of a TOML file; what it leaves out is at its default.

        Raises
        ------
        UsageError
            If the file cannot be read or lacks the section, if a key is unknown or a value does not suit;
            names file, line and key, and what was wrong.
        """
        file = read_toml(Path(path))
        settings = cls.from_file(file, cls.section)
        if cls.section not in file.tables:
            # whoever names a file means to use what it says
            raise UsageError(
                f"{path} has no section [{cls.section}]", hint=f"write [{cls.section}] above its settings"
            )
        return settings

    def to_toml(self, path: str | Path | None = None) -> str:
        """The settings as a section of a TOML file, also written to ``path`` if given.

        Every setting is there, with its meaning and its default as a comment. Read back, the section gives
        equal settings, with an equal hash.

        Examples
        --------
        >>> from attribution import Policy
        >>> print(Policy(late_days=3).to_toml())
        [policy]
        <BLANKLINE>
        # A touchpoint counts if it lies at most this long before the close (open deals: before as_of).
        # Default: 365
        influence_window_days = 365
        <BLANKLINE>
        # On a closed deal some counting touchpoint must lie at least this long before the close.
        # Default: 7
        late_days = 3
        ...
        """
        text = commented(self, self.section)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    @classmethod
    def from_file(cls, file: TomlFile, section: str) -> Self:
        """Settings of one section of a TOML file.

        Raises
        ------
        UsageError
            If a key is unknown or a value does not suit; names file, line and key, and what was wrong.
        """
        unknown = sorted(set(file.tables) - set(_SECTIONS))
        if unknown:
            raise UsageError(
                f"{file.path} line {file.line((unknown[0],))}: there is no section {known(unknown)}",
                hint=f"sections: {', '.join(_SECTIONS)}",
            )
        table = file.tables.get(section, {})
        if not isinstance(table, dict):
            line = file.line((section,))
            raise UsageError(
                f"{file.path} line {line}: {section} is no section",
                hint=f"write [{section}] on its own line",
            )
        try:
            settings = cls.model_validate(table)
        except ValidationError as error:
            faults = []
            found = error.errors(include_url=False, include_context=False)
            for line, fault in sorted(
                ((file.line((section, *fault["loc"])), fault) for fault in found), key=lambda pair: pair[0]
            ):
                message, hint = _told(cls, fault)
                faults.append(UsageError(f"{file.path} line {line}: {message}", hint=hint))
            raise together(faults) from None
        settings._origin = _Origin(file, section)
        return settings

    def where(self, place: Place) -> str:
        """Where a setting stands, for a message: file and line, or its name if it was made in Python.

        Examples
        --------
        >>> from attribution import Mapping
        >>> Mapping(segments=("Industry__c",)).where(("segments", 0))
        'segments[0]'
        """
        if self._origin is None:
            return _spelled(place)
        file = self._origin.file
        return f"{file.path} line {file.line((self._origin.section, *place))}"


def read_toml(path: Path) -> TomlFile:
    """Read a TOML file.

    Raises
    ------
    UsageError
        If the file cannot be read or is not TOML; names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return TomlFile(path, text, tomllib.loads(text))
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}", hint="check the path and its permissions"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}", hint="see the example in the README") from None


# -- what was wrong


def _told(settings: type[BaseModel], fault: Any) -> tuple[str, str]:
    """Message and hint for the first fault that validation found."""
    place: Place = fault["loc"]
    holder = _model_at(settings, place[:-1])
    keys = sorted(holder.model_fields)
    if fault["type"] == "extra_forbidden":
        return (
            f"there is no setting {_spelled(place)!r}",
            f"known settings: {closest(str(place[-1]), keys, 40)}",
        )
    if fault["type"] == "missing":
        return f"{_spelled(place[:-1])} needs {place[-1]}", f"known settings: {', '.join(keys)}"
    what = fault["msg"].removeprefix("Value error, ")
    if isinstance(fault["input"], dict):
        # a rule about several keys of one table
        return f"{_spelled(place) or 'table'}: {what}", f"known settings: {', '.join(keys)}"
    known = f"known settings: {', '.join(keys)}"
    return f"{_spelled(place)} = {fault['input']!r}: {what}", known


def _model_at(settings: type[BaseModel], place: Place) -> type[BaseModel]:
    """The kind of table that stands at a place, or around it."""
    model = settings
    for part in place:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        inner = next(_models_in(field.annotation), None) if field is not None else None
        if inner is None:
            break
        model = inner
    return model


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def _spelled(place: Place) -> str:
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return "".join(parts).removeprefix(".")


# -- where it stands: tomllib does not tell, so the text, which it has found sound, is gone through again

_TOKEN: Final = re.compile(
    r'''(?P<text>"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')'''
    r"|(?P<comment>\#[^\n]*)|(?P<newline>\n)|(?P<sign>[\[\]{}=,.])|(?P<bare>[^\s\[\]{}=,.\#\"']+)|\s",
    re.DOTALL,
)
_Token = tuple[str, str, int]


@functools.lru_cache(maxsize=8)
def _lines(text: str) -> dict[Place, int]:
    """Line of every key, table and array element of a TOML text."""
    tokens: list[_Token] = []
    line = 1
    for match in _TOKEN.finditer(text):
        if match.lastgroup not in (None, "comment"):
            tokens.append((str(match.lastgroup), match.group(), line))
        line += match.group().count("\n")
    return _Scan(tokens).lines


class _Scan:
    """One walk over the tokens of a TOML text, noting the line of whatever has a name or a position."""

    def __init__(self, tokens: list[_Token]) -> None:
        self.tokens = [*tokens, ("newline", "\n", 0)]
        self.at = 0
        self.lines: dict[Place, int] = {}
        self.counts: dict[Place, int] = {}
        table: Place = ()
        while self.at < len(self.tokens):
            kind, text, line = self.tokens[self.at]
            if kind == "newline":
                self.at += 1
            elif text == "[":
                table = self._header(line)
            else:
                self._pair(table)

    def _header(self, line: int) -> Place:
        twice = self.tokens[self.at + 1][1] == "["
        self.at += 2 if twice else 1
        keys = self._keys("]")
        self.at += 1 if twice else 0
        place: Place = ()
        for depth, key in enumerate(keys):
            place = (*place, key)
            if twice and depth == len(keys) - 1:
                self.counts[place] = self.counts.get(place, -1) + 1
                self.lines.setdefault(place, line)
            if place in self.counts:
                place = (*place, self.counts[place])
            self.lines.setdefault(place, line)
        return place

    def _keys(self, end: str) -> list[str]:
        """The parts of a dotted key, up to and with the sign that ends it."""
        keys: list[str] = []
        while self.tokens[self.at][1] != end:
            kind, text, _ = self.tokens[self.at]
            if kind == "text":
                keys.append(str(tomllib.loads(f"x = {text}")["x"]))
            elif kind == "bare":
                keys.append(text)
            self.at += 1
        self.at += 1
        return keys

    def _pair(self, table: Place) -> None:
        line = self.tokens[self.at][2]
        place = table
        for key in self._keys("="):
            place = (*place, key)
            self.lines.setdefault(place, line)
        self._value(place)

    def _value(self, place: Place) -> None:
        text = self.tokens[self.at][1]
        self.at += 1
        if text == "[":
            position = 0
            while self._skip_newlines() != "]":
                if self.tokens[self.at][1] == ",":
                    self.at += 1
                    continue
                self.lines.setdefault((*place, position), self.tokens[self.at][2])
                self._value((*place, position))
                position += 1
            self.at += 1
        elif text == "{":
            while self._skip_newlines() != "}":
                if self.tokens[self.at][1] == ",":
                    self.at += 1
                    continue
                self._pair(place)
            self.at += 1
        else:
            # numbers and dates may hold dots and blanks
            while self.tokens[self.at][1] not in (",", "]", "}", "\n"):
                self.at += 1

    def _skip_newlines(self) -> str:
        while self.tokens[self.at][0] == "newline":
            self.at += 1
        return self.tokens[self.at][1]
