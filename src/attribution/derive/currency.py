"""Amounts in the report currency (RULES 1.9, 1.10): converted at dated rates, rounded once, half to even."""

from __future__ import annotations

import polars as pl

from attribution import money
from attribution.arrays import DECIMAL
from attribution.derive.schema import View

__all__ = ["minor_units", "report_currency"]


def report_currency(view: View) -> str:
    """ISO code of the corporate currency; in a one-currency org the mapped one, else ``XXX``."""
    corporate = view.live("CurrencyType", "IsoCode", "IsCorporate").filter("IsCorporate").collect()
    return corporate["IsoCode"][0] if len(corporate) else view.mapping.currency or "XXX"


def minor_units(view: View, opportunities: pl.DataFrame, currency: str) -> pl.DataFrame:
    """Add ``minor`` (null where there is no amount or no rate) and ``rate_is_current``.

    Reads ``amount``, ``closed_on`` and ``CurrencyIsoCode``. A rate says how many units of its currency one
    unit of the corporate currency buys. It is the dated one that covers the close date, else the current one.
    """
    digits = money.digits(currency)
    rated = _rated(view, opportunities, currency)
    own = pl.col("CurrencyIsoCode").fill_null(currency) == currency
    direct = (
        pl.col("amount")
        .cast(DECIMAL)
        .round(digits, mode="half_to_even")
        .cast(pl.Decimal(38, digits), strict=False)
        .to_physical()
        .cast(pl.Int64, strict=False)
    )
    foreign = rated.filter(~own, pl.col("amount").is_not_null(), pl.col("rate") > 0)
    converted = pl.DataFrame(
        {
            "Id": foreign["Id"],
            "converted": _divide(
                foreign["amount"].cast(DECIMAL).to_physical().to_list(),
                foreign["rate"].cast(DECIMAL).to_physical().to_list(),
                digits,
            ),
        },
        schema={"Id": pl.String, "converted": pl.Int64},
    )
    return (
        rated.join(converted, on="Id", how="left")
        .with_columns(
            minor=pl.when(own).then(direct).otherwise(pl.col("converted")),
            rate_is_current=~own & pl.col("converted").is_not_null() & pl.col("dated").is_null(),
        )
        .drop("rate", "dated", "converted")
    )


def _rated(view: View, opportunities: pl.DataFrame, currency: str) -> pl.DataFrame:
    """Add ``dated``, the rate that covers the close date, and ``rate``, that or the current one."""
    current = view.live("CurrencyType", "IsoCode", "ConversionRate").collect().drop_nulls()
    current = current.unique("IsoCode", keep="first", maintain_order=True)
    dated = (
        view.live("DatedConversionRate", "IsoCode", "ConversionRate", "StartDate", "NextStartDate")
        .collect()
        .drop_nulls(["IsoCode", "ConversionRate", "StartDate"])
        .sort("StartDate")
        .rename({"ConversionRate": "dated"})
    )
    if not len(current) and not len(dated):
        none = pl.lit(None, DECIMAL)
        return opportunities.with_columns(dated=none, rate=none)
    iso = pl.col("CurrencyIsoCode").fill_null(currency)
    return (
        opportunities.with_columns(iso=iso)
        .sort("closed_on")
        .join_asof(
            dated,
            left_on="closed_on",
            right_on="StartDate",
            by_left="iso",
            by_right="IsoCode",
            check_sortedness=False,
        )
        .with_columns(
            dated=pl.when((pl.col("closed_on") < pl.col("NextStartDate")).fill_null(value=True)).then(
                pl.col("dated")
            )
        )
        .join(current.rename({"ConversionRate": "rate"}), left_on="iso", right_on="IsoCode", how="left")
        .with_columns(rate=pl.coalesce("dated", "rate"))
        .drop("iso", "StartDate", "NextStartDate")
        .sort("Id")
    )


def _divide(amounts: list[int], rates: list[int], digits: int) -> list[int | None]:
    """Amount / rate in whole minor units, half to even, in exact integers; both are in units of 10**-18."""
    unit, quotients = 10**digits, []
    for amount, rate in zip(amounts, rates, strict=True):
        whole, rest = divmod(amount * unit, rate)
        whole += 2 * rest > rate or (2 * rest == rate and whole % 2)
        quotients.append(whole if abs(whole) < 2**63 else None)
    return quotients
