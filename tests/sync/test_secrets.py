"""Secrets that Salesforce repeats are shown nowhere, and get into no store."""

from __future__ import annotations

import html
import json
import re
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from attribution.errors import RefusedError, TransientCrmError
from attribution.mapping import Mapping
from attribution.readings import readings
from attribution.store import Store
from attribution.sync.salesforce import Salesforce
from attribution.testing import Org
from tests.loopback import connect

SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": lambda secret: secret,
    "path": quote,
    "small": lambda secret: re.sub("%..", lambda found: found[0].lower(), quote(secret, "")),
    "numbers": lambda secret: "".join(each if each.isalnum() else f"&#{ord(each)};" for each in secret),
    "codes": lambda secret: "".join(each if each.isalnum() else f"\\u{ord(each):04X}" for each in secret),
    "slashes": lambda secret: secret.replace("/", "\\/"),
    "address": lambda secret: quote(secret, ""),
    "form": quote_plus,
    "page": html.escape,
    "document": lambda secret: json.dumps(secret)[1:-1],
}
SECRET = 'a "quoted" & <half> 50% secret!/+'


@pytest.mark.parametrize("spelled", SPELLINGS)
def test_a_secret_is_blotted_out_however_it_is_spelled(org: Org, spelled: str) -> None:
    told = SPELLINGS[spelled](SECRET)
    org.faults.error("", 403, "INSUFFICIENT_ACCESS", f"you sent {told}.")
    with pytest.raises(RefusedError) as failed:
        Salesforce(instance_url=org.url, access_token=SECRET).objects()
    assert failed.value.message.startswith("Salesforce: INSUFFICIENT_ACCESS: you sent ***. (")
    assert told not in "".join(traceback.format_exception(failed.value))


@pytest.mark.parametrize("name", ["Last-Modified", "Sforce-Locator"])
def test_a_header_that_is_kept_holds_no_token(org: Org, name: str) -> None:
    org.faults.add(
        "", status=200, body=[], headers={name: f"Mon, 01 Jun 2026 12:00:00 GMT ({org.token})"}, times=None
    )
    with pytest.raises(TransientCrmError, match="it repeats a credential"):
        connect(org)._wire.get_json("/services/data")


def test_a_page_of_a_bulk_job_that_repeats_the_token_is_not_stored(org: Org, tmp_path: Path) -> None:
    org.load({"Account": [{"Name": org.token if n == 3_000 else f"{n}"} for n in range(5_001)]})
    org.advance(timedelta(minutes=30))
    report = Store(tmp_path).sync(connect(org), objects=["Account"])
    assert "it repeats a credential" in report.objects[0].message
    assert not [each for each in tmp_path.rglob("*.*") if org.token.encode() in each.read_bytes()]


@pytest.mark.parametrize("spelled", SPELLINGS)
@pytest.mark.parametrize("field", ["Name", "CreatedDate"])
def test_a_record_that_repeats_the_token_is_not_stored(
    org: Org, tmp_path: Path, field: str, spelled: str
) -> None:
    (account,) = org.insert("Account", [{"Name": "a"}])
    org.advance(timedelta(minutes=30))
    told = SPELLINGS[spelled](org.token)
    record = dict.fromkeys(readings(Mapping())["Account"].fields)
    record |= {"Id": account, "IsDeleted": False, "Name": "a"}
    record |= dict.fromkeys(("CreatedDate", "SystemModstamp"), "2026-06-01T12:00:00.000+0000") | {field: told}
    page = {"totalSize": 1, "done": True, "records": [record]}
    # once for each attempt, after the count and the organization's own record
    org.faults.add("/queryAll$", skip=2, status=200, body=page, times=6)
    store = Store(tmp_path)
    report = store.sync(connect(org), objects=["Account"])
    assert "it repeats a credential" in report.objects[0].message
    assert told not in str(report.to_ledger())
    assert not [each for each in tmp_path.rglob("*.*") if told.encode() in each.read_bytes()]
    store.sync(connect(org), objects=["Account"])
    assert store.rows("Account")["Name"].to_list() == ["a"]
