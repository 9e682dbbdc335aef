"""Every operation of the API is answered: performed, refused for a reason, never failed at."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fix_sandbox import NOW

from stripe_sandbox.messages import Request
from stripe_sandbox.sandbox import TEST_KEY, Service

if TYPE_CHECKING:
    from stripe_sandbox.spec import Write


def path_for(service: Service, operation: Write, number: int) -> str:
    """The operation's path with ids of objects that are there, where some are."""
    store = service.account.store
    table = store.table(operation.object or "")
    keys = [key for _, _, key in table.order]
    record = table.records[keys[number % len(keys)]] if keys else None
    values = re.findall(r"\{(\w+)\}", operation.path)
    path = operation.path
    for name in values:
        own = record is not None and name == values[-1]
        parent = record.link(name) if record is not None and not own else None
        key = record.body.get("id", "none") if record is not None and own else parent
        if key is None and store.table(name).order:
            key = store.table(name).order[0][2]
        path = path.replace(f"{{{name}}}", str(key))
    return path


def test_no_write_makes_the_sandbox_fail_on_any_object() -> None:
    service = Service(account="full", now=NOW)
    statuses = {}
    for number in range(2):
        for operation in service.account.spec.writes:
            path = path_for(service, operation, number)
            request = Request(
                method=operation.method.upper(), path=path, headers={"authorization": f"Bearer {TEST_KEY}"}
            )
            statuses[request.method, operation.path] = service.handle(request).response.status
    failed = [operation for operation, status in statuses.items() if status >= 500]
    assert failed == []
    assert sum(1 for status in statuses.values() if status == 200) > 130


def test_every_object_that_can_be_retrieved_is_retrieved_as_it_is_listed() -> None:
    service = Service(account="full", now=NOW)
    account = service.account
    seen = set()
    for retrieve in account.spec.retrieves:
        names = re.findall(r"\{(\w+)\}", retrieve.path)
        table = account.store.table(retrieve.object)
        if len(names) != 1 or not table.order or not retrieve.path.endswith("}"):
            continue
        record = table.records[table.order[-1][2]]
        path = re.sub(r"\{\w+\}", record.key, retrieve.path)
        request = Request(method="GET", path=path, headers={"authorization": f"Bearer {TEST_KEY}"})
        answer = service.handle(request).response
        assert answer.status == 200, (path, answer.body)
        assert answer.body.replace(b"\n", b"\n    ") == account.renderer.page_bytes(record)
        seen.add(retrieve.object)
    assert len(seen) > 85
