"""Money: minor units per currency, and the one place where a deal is split into whole minor units.

Amounts are int64 minor units (cents, yen, fils) from the edge of the package to its other edge. A cent is
rounded twice in the life of a number: when an amount becomes minor units of the report currency (once per
deal, where deals are derived), and in :func:`allocate`. Everything else adds integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from attribution.errors import DataError

__all__ = ["allocate", "blocks", "digits", "major", "share", "sum_by", "total"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_DIGITS = {
    code: n_digits
    for n_digits, codes in (
        (0, "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"),
        (3, "BHD IQD JOD KWD LYD OMR TND"),
        (4, "CLF UYW"),
    )
    for code in codes.split()
}
"""Minor digits of ISO 4217, where they are not two."""

_GRID_BITS = 30
"""Remainders are compared on a grid of 2^-30 of a unit."""
_BLOCK = 1 << 15
"""Touchpoints that are allocated at a time: they fit into the cache, and their keys into 63 bits."""
_PIECE = 1 << 8
"""Touchpoints that are sorted at a time, about."""
_EXACT_BELOW = float(1 << 53)
"""Integers below this are exact in float64."""


def digits(currency: str) -> int:
    """Minor digits of a currency, by ISO 4217; two for codes without any, such as ``XXX``.

    Examples
    --------
    >>> digits("USD"), digits("JPY"), digits("KWD"), digits("XXX")
    (2, 0, 3, 2)
    """
    return _DIGITS.get(currency, 2)


def major(minor: int, currency: str) -> Decimal:
    """Minor units as an exact amount with the currency's digits, whatever the decimal context.

    Examples
    --------
    >>> major(123_456, "USD"), major(-5, "KWD"), major(0, "JPY")
    (Decimal('1234.56'), Decimal('-0.005'), Decimal('0'))
    """
    return Decimal(f"{minor}e-{digits(currency)}")


def share(part: int, whole: int) -> float | None:
    """What part of a whole an amount is; None of nothing, and 0, never -0, where the part is nothing.

    Examples
    --------
    >>> share(1, 4), share(0, -4), share(1, 0)
    (0.25, 0.0, None)
    """
    if not whole:
        return None
    return part / whole if part else 0.0


def allocate(amounts: Ints, shares: Floats, offsets: Ints) -> Ints:
    """Split deals over their touchpoints in whole minor units; the parts of a deal add up to the deal.

    Each touchpoint receives the floor of ``abs(amount) * share``. The units left over go, one each, to the
    largest remainders; remainders closer than 2^-30 of a unit, or than 2^-51 of the amount, go to the earlier
    touchpoint. The sign is put back last. A share of 0 never receives a unit.

    Parameters
    ----------
    amounts
        Minor units per deal, of either sign.
    shares
        Per touchpoint, in path order, finite and not negative. Those of one deal add up to 1 (to the
        accuracy of float64), or all are 0: then the deal is not split and its parts are 0.
    offsets
        Deal ``i`` has the touchpoints ``offsets[i]:offsets[i + 1]``; one entry more than ``amounts``.

    Returns
    -------
    Minor units per touchpoint.

    Notes
    -----
    The largest-remainder method (Hamilton). Products are carried to twice the precision of float64, so the
    result is the one of exact fractions. Where float64 shares miss 1 by whole units (deals of 10^15 units
    and more), they are divided by their exact sum first.

    Examples
    --------
    >>> allocate(np.array([10_001, -5]), np.array([1 / 3, 1 / 3, 1 / 3, 0.5, 0.5]), np.array([0, 3, 5]))
    array([3334, 3334, 3333,   -3,   -2])
    """
    parts = np.zeros(len(shares), dtype=np.int64)
    for first, last in blocks(offsets):
        begin, end = int(offsets[first]), int(offsets[last])
        if begin < end:
            starts = offsets[first : last + 1] - begin
            parts[begin:end] = _allocate_block(amounts[first:last], shares[begin:end], starts)
    return parts


def sum_by(codes: NDArray[np.integer], values: Ints, n: int) -> Ints:
    """Exact sums of integers per code in ``0 .. n - 1``.

    Raises
    ------
    DataError
        If the sums might not fit into 64 bits.

    Examples
    --------
    >>> sum_by(np.array([0, 2, 0]), np.array([1, 5, 2**60]), 3)
    array([1152921504606846977,                   0,                   5])
    """
    if len(values):
        largest = max(int(values.max()), -int(values.min()))
        if largest * len(values) >= 1 << 63 and float(np.abs(values.astype(np.float64)).sum()) >= 2.0**63:
            raise DataError(
                "the amounts add up to 2^63 minor units or more",
                hint="look for a deal whose amount is a mistake, or exclude it by opportunity.exclude",
            )
    sums = np.zeros(n, dtype=np.int64)
    np.add.at(sums, codes, values)
    return sums


def total(values: Ints) -> int:
    """Exact sum of integers, however large."""
    low = values & 0xFFFF_FFFF
    return (int((values >> 32).sum()) << 32) + int(low.sum())


def blocks(offsets: Ints) -> Iterator[tuple[int, int]]:
    """Runs ``first:last`` of deals with at most ``_BLOCK`` touchpoints; a longer deal is alone."""
    first, n_deals = 0, len(offsets) - 1
    while first < n_deals:
        last = int(np.searchsorted(offsets, offsets[first] + _BLOCK, side="right")) - 1
        last = min(max(last, first + 1), first + _BLOCK, n_deals)
        yield first, last
        first = last


def _allocate_block(amounts: Ints, shares: Floats, offsets: Ints) -> Ints:
    filled = offsets[1:] > offsets[:-1]
    amounts, starts, counts = amounts[filled], offsets[:-1][filled], np.diff(offsets)[filled]
    deal = np.repeat(np.arange(len(amounts)), counts)
    units = np.abs(amounts.astype(np.float64))
    units[units >= _EXACT_BELOW] = 0  # so that everything is left over, and they are allocated below
    parts, remainders = _multiply(units, deal, shares)

    receiving = shares > 0
    n_receiving = counts if receiving.all() else np.bincount(deal[receiving], minlength=len(amounts))
    leftover = np.abs(amounts) - np.add.reduceat(parts, starts)
    leftover[n_receiving == 0] = 0
    unfit = (leftover < 0) | (leftover > n_receiving)

    # Sorting packed integers puts the touchpoints of each deal in the order in which they receive a
    # leftover unit: largest remainder first, then path order, and shares of 0 after all others.
    n = len(shares)
    position_bits = n.bit_length()
    keys = deal << (_GRID_BITS + 1)
    keys += (1 << _GRID_BITS) + 1 - receiving
    keys -= remainders
    keys <<= position_bits
    keys += np.arange(n)
    # in pieces of whole deals: the deals are in order already, and short sorts are twice as fast
    cuts = np.unique(starts[np.searchsorted(starts, np.arange(0, n, _PIECE), side="right") - 1])
    for first, last in pairwise([*cuts.tolist(), n]):
        keys[first:last].sort()
    _level(keys, position_bits, receiving, units, deal)
    receives = np.arange(n) < np.repeat(starts + leftover, counts)
    parts[keys[receives] & ((1 << position_bits) - 1)] += 1

    parts *= np.repeat(np.sign(amounts), counts)
    for row in np.flatnonzero(unfit):
        mine = slice(int(starts[row]), int(starts[row] + counts[row]))
        parts[mine] = _allocate_exactly(int(amounts[row]), shares[mine])
    return parts


def _level(keys: Ints, position_bits: int, receiving: Bools, units: Floats, deal: Ints) -> None:
    """Put touchpoints whose remainders are equal but for the error of float64 into path order.

    Two remainders are equal if they are closer than 2^-30, or than the shares of a large deal can tell:
    by 2^-51 of the amount. A share is the quotient of two floats, each of them off by half a unit in its
    last place.
    """
    steps = np.diff(keys >> position_bits)
    # by no means the whole deal: a remainder says something up to the largest amounts that floats count
    least = np.minimum(1 + units * 2.0 ** (_GRID_BITS - 51), 1 << 20).astype(np.int64)
    close = np.flatnonzero((steps > 0) & (steps <= (least.max() if len(least) else 0)))
    position = keys & ((1 << position_bits) - 1)
    close = close[steps[close] <= least[deal[position[close]]]]
    # who earns nothing is not level with who earns next to nothing
    close = close[receiving[position[close]] == receiving[position[close + 1]]]
    if not len(close):
        return
    touched = np.zeros(len(units), dtype=bool)
    touched[deal[position[close]]] = True
    rows = np.flatnonzero(touched[deal])
    begins = np.concatenate([[True], steps > 0])
    begins[close + 1] = False
    level = np.cumsum(begins[rows])
    keys[rows] = keys[rows][np.argsort(level << position_bits | position[rows])]


def _multiply(units: Floats, deal: Ints, shares: Floats) -> tuple[Ints, Ints]:
    """Whole units of ``units[deal] * shares``, and what remains on the grid of 2^-30.

    The rounding error of the float64 product is computed exactly and put back (T. J. Dekker, "A
    floating-point technique for extending the available precision", 1971): on a deal of a million dollars
    it would be wider than the grid.
    """
    high, low = _halves(units)
    share_high, share_low = _halves(shares)
    amount, high, low = units[deal], high[deal], low[deal]
    product = amount * shares
    error = high * share_high
    error -= product
    error += high * share_low
    error += low * share_high
    error += low * share_low
    whole = np.floor(product)
    product -= whole
    product += error
    product *= 1 << _GRID_BITS
    grid = np.rint(product).astype(np.int64)
    # a product within half a grid step below a whole unit is that unit
    return whole.astype(np.int64) + (grid >> _GRID_BITS), grid & ((1 << _GRID_BITS) - 1)


def _halves(numbers: Floats) -> tuple[Floats, Floats]:
    """Two floats of at most 26 bits each that add up to the number, so that their products are exact."""
    scaled = numbers * ((1 << 27) + 1)
    high = scaled - (scaled - numbers)
    return high, numbers - high


def _allocate_exactly(amount: int, shares: Floats) -> list[int]:
    """One deal in exact fractions, its shares divided by their exact sum."""
    exact = [Fraction(float(share)) for share in shares]
    total = sum(exact)
    products = [abs(amount) * share / total for share in exact]
    parts = [int(product) for product in products]
    receiving = [position for position, share in enumerate(exact) if share]
    receiving.sort(key=lambda position: parts[position] - products[position])
    levels, level = {}, 0
    for before, position in zip([None, *receiving], receiving, strict=False):
        if before is not None:
            step = (products[before] - parts[before]) - (products[position] - parts[position])
            level += step > Fraction(1, 1 << _GRID_BITS)
        levels[position] = level
    receiving.sort(key=lambda position: (levels[position], position))
    for position in receiving[: abs(amount) - sum(parts)]:
        parts[position] += 1
    return [-part if amount < 0 else part for part in parts]
