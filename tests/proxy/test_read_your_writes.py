"""Each write through the proxy is read back at once from another session, cell by cell, while a sync follows.

``WRITES=1000`` for more than a hundred.
"""

import itertools
import json
import os
import random
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial

import psycopg
import pytest
import requests
from fix_sandbox import Http
from following import FOLLOW, Following
from oracle import Oracle, StripeObject, key_of, same, table
from pipeline import Pipeline
from psycopg.types.json import set_json_loads
from stripe_account import StripeAccount

WRITES = int(os.environ.get("WRITES", "100"))
EXPANDED = {"customer", "charge", "invoice", "price"}
PAID = {
    "currency": "eur",
    "payment_method": "pm_card_visa",
    "confirm": "true",
    "automatic_payment_methods[enabled]": "true",
    "automatic_payment_methods[allow_redirects]": "never",
}


@pytest.fixture
def account(make_sandbox):
    sandbox = make_sandbox("demo", now=None)
    http = Http(sandbox.url)
    yield StripeAccount(sandbox, http)
    http.close()


@pytest.fixture
def following(account, database, tmp_path):
    """A sync of the same account."""
    pipeline = Pipeline(tmp_path, stripe_url=account.url, database_url=database)
    assert (outcome := pipeline.run()).succeeded, outcome.logs
    pipeline.tap_settings |= FOLLOW
    with Following(pipeline.start()) as following:
        following.wait_until_caught_up()
        following.states.clear()
        yield following
        assert following.states
        following.stop()


class Application:
    """Writes through the proxy and reads from Postgres.

    Attributes:
        rows: How many rows were compared.
        wrong: What was not as the answer has it.
    """

    def __init__(self, account, proxy, database, number):
        self._account, self._url = account, f"{proxy}/api.stripe.com"
        self._oracle = Oracle(account.id)
        self._http = requests.Session()
        self._http.auth = ("sk_test_sandbox", "")
        self._database = psycopg.connect(database, autocommit=True, options="-c timezone=UTC")
        set_json_loads(partial(json.loads, parse_float=Decimal), self._database)
        self._random = random.Random(number)
        self.rows = 0
        self.wrong = []

    def close(self):
        self._http.close()
        self._database.close()

    def writes(self):
        """Yield after each write, for ever."""
        for number in itertools.count():
            email = f"{self._random.random()}@example.com"
            customer = self.post("/customers", {"email": email, "metadata[n]": number, "expand[]": "default_source"})
            yield
            self.post(f"/customers/{customer}", {"name": "Ü\u2028", "address[city]": "Köln", "metadata[n]": ""})
            yield
            self.post(
                "/payment_intents", PAID | {"amount": 100 + number, "customer": customer, "expand[]": "latest_charge"}
            )
            yield
            product = self.post("/products", {"name": "One", "default_price_data[currency]": "eur",
                                              "default_price_data[unit_amount_decimal]": "10.125",
                                              "default_price_data[recurring][interval]": "month",
                                              "expand[]": "default_price"})  # fmt: skip
            yield
            price = self.post("/prices", {"product": product, "currency": "usd", "unit_amount": 900,
                                          "recurring[interval]": "month"})  # fmt: skip
            yield
            subscription = self.post(
                "/subscriptions",
                {"customer": customer, "items[0][price]": price, "collection_method": "send_invoice",
                 "days_until_due": 7, "expand[]": ["latest_invoice", "customer"]},
            )  # fmt: skip
            yield
            self.post("/invoiceitems", {"customer": customer, "amount": 1_234, "currency": "usd"})
            yield
            self.post("/invoices", {"customer": customer, "pending_invoice_items_behavior": "include",
                                    "currency": "usd"})  # fmt: skip
            yield
            self.delete(f"/subscriptions/{subscription}")  # it stays, canceled
            yield
            tax_id = self.post(f"/customers/{customer}/tax_ids", {"type": "eu_vat", "value": "DE123456789"})
            yield
            self.delete(f"/customers/{customer}/tax_ids/{tax_id}")
            yield
            coupon = self.post("/coupons", {"percent_off": "12.5", "duration": "once"})
            yield
            self.delete(f"/coupons/{coupon}")
            yield
            self.delete(f"/customers/{customer}")
            yield

    def post(self, path, form):
        return self._check(self._http.post(f"{self._url}/v1{path}", data=form, timeout=30))

    def delete(self, path):
        return self._check(self._http.delete(f"{self._url}/v1{path}", timeout=30))

    def _check(self, answer):
        """Compare the rows with an answer; return the id of its object."""
        assert answer.status_code == 200, answer.text
        assert "Stripe-Proxy-Applied" not in answer.headers
        body = json.loads(answer.content, parse_float=Decimal)
        if body.get("deleted"):
            self._compare_deleted(body)
        else:
            for each in within(body):
                self._compare(each)
        return body["id"]

    def _compare(self, each):
        expected = self._oracle.expect([self._account.complete(each)]).rows[table(each.object)]
        ((key, row),) = expected.items()
        stored = self._row(each.object, key)
        if stored is None or stored["_sdc_deleted_at"] is not None:
            self.wrong.append((each.object, key, "no row"))
            return
        self.rows += 1
        for column, value in row.cells.items():
            if not same(value, stored[column]):
                self.wrong.append((each.object, key, column, value, stored[column]))

    def _compare_deleted(self, body):
        stored = self._row(body["object"], (body["id"],))
        self.rows += 1
        if stored is None or stored["_sdc_deleted_at"] is None:
            self.wrong.append((body["object"], body["id"], "not deleted"))

    def _row(self, object_type, key):
        cursor = self._database.execute(f'SELECT * FROM stripe."{table(object_type)}" WHERE id = %s', (key[-1],))
        columns = [each.name for each in cursor.description]
        rows = (dict(zip(columns, values, strict=True)) for values in cursor)
        return next((row for row in rows if key_of(table(object_type), row) == key), None)


def within(body):
    """Yield the objects that an answer holds: its own, what was expanded, and the elements of its lists."""
    yield StripeObject(object=body["object"], key=body["id"], facts={}, body=body)
    for value in body.values():
        if isinstance(value, dict) and value.get("object") == "list" and not value["has_more"]:
            for each in value["data"]:
                facts = {body["object"]: body["id"]}
                yield StripeObject(object=each["object"], key=each["id"], facts=facts, body=each)
        elif isinstance(value, dict) and "id" in value and value.get("object") in EXPANDED:
            yield from within(value)


@pytest.mark.parametrize("at_once", [1, 16])
@pytest.mark.usefixtures("following")
def test_each_write_can_be_read_at_once(account, make_proxy, database, at_once):
    proxy = make_proxy(account)
    applications = [Application(account, proxy, database, number) for number in range(at_once)]

    def write(application):
        for _ in itertools.islice(application.writes(), -(-WRITES // at_once)):
            pass

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(write, applications))
    assert [wrong for each in applications for wrong in each.wrong] == []
    assert sum(each.rows for each in applications) > WRITES
    for each in applications:
        each.close()
