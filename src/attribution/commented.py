"""Settings written as TOML that explains itself: every setting, what it means, and what it is by default."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

__all__ = ["commented", "spelled"]

_WIDTH = 100


def commented(settings: BaseModel, section: str) -> str:
    """The settings as one section of a TOML file.

    What is at its default is written too, so that the file says the same under a later default. What is not
    set, and lists of tables without an entry, stand there as comments.
    """
    simple, tables = [f"[{section}]"], list[str]()
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if _entry(field) is None:
            simple += ["", *_pairs(name, field, value)]
        else:
            tables += _blocks(f"{section}.{name}", field, value)
    return "\n".join([*simple, *tables]) + "\n"


def _pairs(name: str, field: FieldInfo, value: Any) -> Iterator[str]:
    """Lines of one setting: what it means, then its value; a table as dotted keys."""
    yield from _comment(field)
    if isinstance(value, BaseModel):
        for inner, each in type(value).model_fields.items():
            yield from _pairs(f"{name}.{inner}", each, getattr(value, inner))
    else:
        yield f"# {name} =" if value is None else f"{name} = {spelled(value)}"


def _blocks(place: str, field: FieldInfo, entries: tuple[BaseModel, ...]) -> Iterator[str]:
    """Lines of a list of tables; without an entry, those of one that is commented out."""
    yield ""
    yield from _comment(field)
    entry = _entry(field)
    if not entries and entry is not None:
        yield f"# [[{place}]]"
        for name, each in entry.model_fields.items():
            meaning = "needed" if each.is_required() else "optional"
            yield from _comment(each, indent="#     ")
            yield f"# {name} =  # {meaning}"
    for value in entries:
        yield from ("", f"[[{place}]]", *_given(value))


def _given(value: BaseModel, prefix: str = "") -> Iterator[str]:
    for name in type(value).model_fields:
        inner = getattr(value, name)
        if isinstance(inner, BaseModel):
            yield from _given(inner, f"{prefix}{name}.")
        elif inner is not None:
            yield f"{prefix}{name} = {spelled(inner)}"


def _comment(field: FieldInfo, indent: str = "# ") -> Iterator[str]:
    text = " ".join((field.description or "").replace("``", "").split())
    yield from textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent)
    default = field.get_default(call_default_factory=True)
    if not (field.is_required() or default is None or isinstance(default, BaseModel) or _entry(field)):
        yield f"{indent}Default: {spelled(default)}"


def _entry(field: FieldInfo) -> type[BaseModel] | None:
    """Of a list of tables, what one of them is."""
    first = next(iter(get_args(field.annotation)), None)
    return first if isinstance(first, type) and issubclass(first, BaseModel) else None


def spelled(value: Any) -> str:
    """A value as TOML spells it."""
    if isinstance(value, BaseModel):
        value = {name: inner for name, inner in value if inner is not None}
    if isinstance(value, Mapping):
        keys = {key: key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else spelled(key) for key in value}
        inside = ", ".join(f"{keys[key]} = {spelled(inner)}" for key, inner in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(spelled, value))}]"
    # JSON spells truth, whole numbers and text like TOML, but for one character
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
