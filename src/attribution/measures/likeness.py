"""Partners that may be one company under several names: by name and by web domain."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from attribution.columns import Party

__all__ = ["Likeness", "alike", "domain", "normalized"]

ENOUGH = 90
"""Names that are at least this alike, of 100, are suggested."""
WORDS_ENOUGH = 75
"""Each word must have one this alike in the other name: towns differ, trades do not."""
_AT_ONCE = 1024
"""Names compared with all others at a time."""
_LEGAL_FORMS = frozenset(
    [
        "ab",
        "ag",
        "as",
        "asa",
        "bv",
        "co",
        "company",
        "corp",
        "corporation",
        "gmbh",
        "inc",
        "incorporated",
        "kg",
        "kgaa",
        "limited",
        "llc",
        "llp",
        "lp",
        "ltd",
        "nv",
        "oy",
        "oyj",
        "plc",
        "pte",
        "pty",
        "sa",
        "sarl",
        "sas",
        "se",
        "spa",
        "srl",
        "the",
    ]
)
_SHARED_HOSTS = frozenset(
    [
        "facebook.com",
        "github.io",
        "google.com",
        "instagram.com",
        "linkedin.com",
        "salesforce.com",
        "sites.google.com",
        "twitter.com",
        "wixsite.com",
        "wordpress.com",
        "x.com",
        "xing.com",
        "youtube.com",
    ]
)
"""Hosts on which many companies have a page: sharing one says nothing."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """Two partners, by position, the smaller first, and how alike they are."""

    one: int
    other: int
    score: float
    """From ``ENOUGH`` to 100, of the names; 100 where the domain is the same."""
    domain: str | None
    """The web domain that both have."""


def normalized(name: str) -> str:
    """A company's name as it is compared: without case, accents, signs and legal forms, its words in order.

    Examples
    --------
    >>> normalized("Société Kestrelwick, S.A."), normalized("The Ashmoor Co. Ltd")
    ('kestrelwick societe', 'ashmoor')
    """
    plain = unicodedata.normalize("NFKD", name.casefold())
    plain = "".join(sign for sign in plain if not unicodedata.combining(sign)).replace("&", " and ")
    # S.A. and SA are one
    words = re.findall(r"\w+", re.sub(r"\b(\w)\.(?=\w\b)", r"\1", plain))
    kept = [word for word in words if word not in _LEGAL_FORMS]
    return " ".join(sorted(kept or words))


def domain(website: str | None) -> str | None:
    """The domain of a web address; None where it has none of its own.

    Examples
    --------
    >>> domain("https://www.Ashmoor.example/en?x=1"), domain("ashmoor.example"), domain("n/a")
    ('ashmoor.example', 'ashmoor.example', None)
    """
    found = re.fullmatch(r"(?:\w+://)?(?:[^/@]*@)?([^/:?#\s]+)(?:[:/?#].*)?", (website or "").strip().lower())
    host = found[1].removeprefix("www.").rstrip(".") if found else ""
    return host if "." in host and host not in _SHARED_HOSTS else None


def alike(parties: Sequence[Party]) -> Iterator[Likeness]:
    """Pairs of partners whose names are alike, or whose domain is the same; every pair is compared.

    Names with different numbers in them are not alike: Unit 1 is not Unit 2.
    """
    from rapidfuzz import fuzz, process

    names = [normalized(party.name) for party in parties]
    of_domain: dict[str, list[int]] = {}
    for at, party in enumerate(parties):
        host = domain(party.website)
        if host is not None:
            of_domain.setdefault(host, []).append(at)
    same = {
        (one, other): host
        for host, members in of_domain.items()
        # one address on very many accounts is a default that nobody changed
        if len(members) <= 20
        for place, one in enumerate(members)
        for other in members[place + 1 :]
    }
    for pair, host in same.items():
        yield Likeness(*pair, 100.0, host)
    for start in range(0, len(names), _AT_ONCE):
        scores = process.cdist(
            names[start : start + _AT_ONCE],
            names[start:],
            scorer=fuzz.ratio,
            score_cutoff=ENOUGH,
            dtype=np.uint8,
        )
        for row, column in np.argwhere(np.triu(scores, 1) > 0).tolist():
            one, other = start + row, start + column
            if (one, other) not in same and _words_agree(names[one], names[other]):
                yield Likeness(one, other, round(fuzz.ratio(names[one], names[other]), 1), None)


def _words_agree(one: str, other: str) -> bool:
    """Whether the numbers are the same, and each word has one like it in the other name."""
    from rapidfuzz import fuzz

    if one.replace(" ", "") == other.replace(" ", ""):
        return True
    numbers = [sorted(re.findall(r"\d+", name)) for name in (one, other)]
    return numbers[0] == numbers[1] and all(
        max(fuzz.ratio(word, each) for each in theirs) >= WORDS_ENOUGH
        for mine, theirs in ((one.split(), other.split()), (other.split(), one.split()))
        for word in mine
    )
