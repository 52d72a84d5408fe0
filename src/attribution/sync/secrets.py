"""Secrets in what Salesforce says: it may repeat what it was asked with, in more than one spelling."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from html.entities import codepoint2name
from typing import Final

__all__ = ["blotted", "repeats"]

_SHORT: Final = 5
"""Anything shorter is no secret, but part of many words."""
_RUN: Final = 12
"""So many letters and digits of a token are in no text by chance."""
_SIGNED: Final = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+")
"""What a signed assertion looks like: it is as good as a password while it lasts."""


def blotted(text: str, secrets: Iterable[str]) -> str:
    """A text with no secret in it, also none that is spelled as an address, HTML or JSON spells it.

    Examples
    --------
    >>> blotted("no 00D8!AQ/x, nor 00D8%21AQ%2fx, nor 00D8&#33;AQ/x", ["00D8!AQ/x"])
    'no ***, nor ***, nor ***'
    """
    # one may be part of another
    for each in sorted(secrets, key=len, reverse=True):
        text = _spelled(each).sub("***", text) if len(each) >= _SHORT else text
    return _SIGNED.sub("***", text)


def repeats(told: bytes, tokens: Iterable[str]) -> bool:
    """Whether something told holds a token: by the longest run in it that no spelling changes.

    Examples
    --------
    >>> repeats(b'{"Name": "00D8&#33;AQ.0123456789abcdef"}', ["00D8!AQ.0123456789abcdef"])
    True
    >>> repeats(b'{"Name": "a token"}', ["a token"])
    False
    """
    return any(run in told for run in map(_longest_run, tokens) if len(run) >= _RUN)


@functools.cache
def _spelled(secret: str) -> re.Pattern[str]:
    """Each character as itself, or as any of its escapes."""
    return re.compile("".join(f"(?:{'|'.join(_escapes(each))})" for each in secret))


def _escapes(character: str) -> list[str]:
    code = ord(character)
    if character.isalnum():
        return [character]
    found = [re.escape(character), rf"(?i:%{code:02x}|&#0*{code};|&#x0*{code:x};|\\u{code:04x})"]
    found += [rf"\\{re.escape(character)}"] if character in "\"'\\/" else []
    found += [r"\+"] if character == " " else []
    return found + ([f"&{codepoint2name[code]};"] if code in codepoint2name else [])


def _longest_run(token: str) -> bytes:
    # before the mark stands the id of the organization, which is no secret
    runs = re.findall(r"[0-9A-Za-z]+", token.partition("!")[2] or token)
    return max(runs, key=len, default="").encode()
