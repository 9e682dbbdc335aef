"""Every operation of the API is answered: performed, refused for a reason, never failed at."""

from __future__ import annotations

import re

from addresses import write_address
from fix_sandbox import NOW

from stripe_sandbox.messages import Request
from stripe_sandbox.sandbox import TEST_KEY, Service


def test_no_write_makes_the_sandbox_fail_on_any_object() -> None:
    service = Service(account="full", now=NOW)
    statuses = {}
    for number in range(2):
        for operation in service.account.spec.writes:
            path = write_address(service.account, operation, number).path(operation.path)
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
