"""Secrets in what Salesforce says: it may repeat what it was asked with, in more than one spelling."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, quote_plus

__all__ = ["blotted", "repeats"]

_SHORT: Final = 5
"""Anything shorter is no secret, but part of many words."""
_LONG: Final = 20
"""No token is shorter; a password may be, and then be a word that records hold by chance."""
_SIGNED: Final = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+")
"""What a signed assertion looks like: it is as good as a password while it lasts."""


def blotted(text: str, secrets: Iterable[str]) -> str:
    """A text with no secret in it.

    Examples
    --------
    >>> blotted("no session 00D8!AQ.x y, nor 00D8%21AQ.x%20y", ["00D8!AQ.x y"])
    'no session ***, nor ***'
    """
    for spelling in _spellings(secrets, _SHORT):
        text = text.replace(spelling, "***")
    return _SIGNED.sub("***", text)


def repeats(told: bytes, secrets: Iterable[str]) -> bool:
    """Whether something told holds a secret that it cannot hold by chance.

    Examples
    --------
    >>> repeats(b"{'Name': '00D8!AQ.0123456789012'}", ["00D8!AQ.0123456789012"])
    True
    >>> repeats(b"{'Name': 'password'}", ["password"])
    False
    """
    return any(spelling.encode() in told for spelling in _spellings(secrets, _LONG))


def _spellings(secrets: Iterable[str], at_least: int) -> list[str]:
    """Secrets of some length, also as an address, a page of HTML or a document spells them."""
    found = {
        spelling
        for each in secrets
        if len(each) >= at_least
        for spelling in (each, quote(each, ""), quote_plus(each), html.escape(each), json.dumps(each)[1:-1])
    }
    # one may be part of another
    return sorted(found, key=len, reverse=True)
