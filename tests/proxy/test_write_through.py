"""What Stripe answered through the proxy can be read from Postgres at once."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import psycopg
import pytest
import requests
import stripe

from stripe_sandbox.keys import Key
from stripe_sandbox.sandbox import Service

OLD_VERSION = "2020-08-27"


def test_what_was_written_can_be_read_at_once(proxy, make_stripe, rows):
    client = make_stripe(proxy)
    for number in range(20):
        customer = client.v1.customers.create({"email": f"c{number}@example.com", "metadata": {"n": number}})
        found = rows("SELECT email, metadata->>'n' FROM stripe.customer WHERE id = %s", customer.id)
        assert found == [(f"c{number}@example.com", str(number))]
        client.v1.customers.update(customer.id, {"name": "Ü"})
        assert rows("SELECT name FROM stripe.customer WHERE id = %s", customer.id) == [("Ü",)]


def test_so_it_is_for_many_callers_at_once(proxy, make_stripe, database):
    def write_and_read(number):
        client = make_stripe(proxy)
        with psycopg.connect(database, autocommit=True) as connection:
            for _ in range(25):
                key = client.v1.customers.create({"email": f"{number}@example.com"}).id
                if connection.execute("SELECT 1 FROM stripe.customer WHERE id = %s", (key,)).fetchone() is None:
                    return key
        return None

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(write_and_read, range(4))) == [None] * 4


def test_what_was_deleted_is_gone_with_what_was_only_its(proxy, make_stripe, rows):
    client = make_stripe(proxy)
    customer = client.v1.customers.create({"email": "gone@example.com"})
    tax_id = client.v1.customers.tax_ids.create(customer.id, {"type": "eu_vat", "value": "DE123456789"})
    live = "SELECT count(*) FROM stripe.{} WHERE id = %s AND _sdc_deleted_at IS NULL"
    assert rows(live.format("tax_id"), tax_id.id) == [(1,)]
    client.v1.customers.delete(customer.id)
    assert rows(live.format("customer"), customer.id) == [(0,)]
    assert rows("SELECT email FROM stripe.customer WHERE id = %s", customer.id) == [("gone@example.com",)]
    assert rows(live.format("tax_id"), tax_id.id) == [(0,)]


def subscription_of(client, **more):
    customer = client.v1.customers.create({"email": "s@example.com"})
    product = client.v1.products.create({"name": "Plan"})
    price = client.v1.prices.create(
        {"product": product.id, "currency": "eur", "unit_amount": 900, "recurring": {"interval": "month"}}
    )
    return client.v1.subscriptions.create(
        {"customer": customer.id, "items": [{"price": price.id}], "collection_method": "send_invoice",
         "days_until_due": 7, **more}
    )  # fmt: skip


def test_embedded_lists_are_rows(proxy, make_stripe, rows):
    subscription = subscription_of(make_stripe(proxy))
    (item,) = subscription["items"].data
    found = rows("SELECT id, price_id FROM stripe.subscription_item WHERE subscription_id = %s", subscription.id)
    assert found == [(item.id, item.price.id)]


@pytest.fixture
def make_storing(sandbox, claim, make_proxy):
    """Makes proxies that mark what is deleted, or remove it."""
    claim(sandbox.account.id)
    return lambda **settings: make_proxy(sandbox, **settings)


@pytest.mark.parametrize("hard_delete", [False, True])
def test_a_child_that_is_written_in_the_second_of_its_parents_last_list_is_there(
    make_storing, make_stripe, rows, hard_delete
):
    client = make_stripe(make_storing(hard_delete=hard_delete))
    subscription = subscription_of(client)  # its answer lists the items that it had then
    price = {"currency": "eur", "product": client.v1.products.create({"name": "More"}).id, "unit_amount": 5}
    more = client.v1.prices.create({**price, "recurring": {"interval": "month"}})
    item = client.v1.subscription_items.create({"subscription": subscription.id, "price": more.id})
    there = "SELECT count(*) FROM stripe.subscription_item WHERE id = %s AND _sdc_deleted_at IS NULL"
    assert rows(there, item.id) == [(1,)]
    client.v1.subscriptions.update(subscription.id, {"metadata": {"a": "1"}})  # which lists both
    assert rows(there, item.id) == [(1,)]
    client.v1.subscription_items.delete(item.id)
    assert rows(there, item.id) == [(0,)]
    client.v1.subscriptions.update(subscription.id, {"metadata": {"a": "2"}})
    assert rows(there, item.id) == [(0,)]
    first = subscription["items"].data[0].id
    assert rows(there, first) == [(1,)]


def test_a_child_that_is_read_in_the_second_of_its_parents_last_list_is_not_taken_for_a_later_one(
    proxy, make_stripe, rows, database
):
    client = make_stripe(proxy)
    subscription = subscription_of(client)
    (item,) = subscription["items"].data
    with psycopg.connect(database) as session:  # as if a sync had read, in this second, that it is gone
        session.execute("UPDATE stripe.subscription_item SET _sdc_as_of = date_trunc('second', _sdc_as_of)")
        (second,) = session.execute("SELECT _sdc_as_of FROM stripe.subscription_item").fetchone()
        listed = {"subscription_item": {"ids": {}, "as_of": second.isoformat()}}
        session.execute("UPDATE stripe._children SET lists = %s", [json.dumps(listed)])
    client.v1.subscription_items.retrieve(item.id)
    there = "SELECT count(*) FROM stripe.subscription_item WHERE _sdc_deleted_at IS NULL"
    assert rows(there) == [(0,)]


def test_what_the_caller_had_expanded_is_a_row_too(proxy, make_stripe, rows):
    subscription = subscription_of(make_stripe(proxy), expand=["latest_invoice", "customer"])
    invoice = subscription.latest_invoice
    found = rows("SELECT status, amount_due, customer_id FROM stripe.invoice WHERE id = %s", invoice.id)
    assert found == [(invoice.status, invoice.amount_due, subscription.customer.id)]
    found = rows("SELECT latest_invoice_id, customer_id FROM stripe.subscription WHERE id = %s", subscription.id)
    assert found == [(invoice.id, subscription.customer.id)]


def test_what_a_list_shows_is_stored_and_what_it_does_not_show_stays(sandbox, proxy, make_stripe, rows):
    past = stripe.StripeClient("sk_test_sandbox", base_addresses={"api": sandbox.url})
    for number in range(3):
        past.v1.customers.create({"email": f"{number}@example.com"})
    client = make_stripe(proxy)
    assert len(client.v1.customers.list({"limit": 3}).data) == 3
    assert rows("SELECT count(*) FROM stripe.customer WHERE _sdc_deleted_at IS NULL") == [(3,)]
    client.v1.customers.list({"limit": 1})
    assert rows("SELECT count(*) FROM stripe.customer WHERE _sdc_deleted_at IS NULL") == [(3,)]


def test_an_answer_in_another_version_is_read_again(proxy, make_stripe, rows):
    """The columns are those of the version of the rows, whatever the caller's library was made for."""
    client = make_stripe(proxy, stripe_version=OLD_VERSION)
    customer = client.v1.customers.create({"email": "old@example.com"})
    found = rows("SELECT email, _sdc_deleted_at, _extra FROM stripe.customer WHERE id = %s", customer.id)
    assert found == [("old@example.com", None, None)]
    assert [each.id for each in client.v1.customers.list().data] == [customer.id]


def test_an_answer_that_stripe_only_repeats_is_not_believed(sandbox, proxy, make_stripe, rows):
    client = make_stripe(proxy)
    once = {"idempotency_key": "one"}
    customer = client.v1.customers.create({"name": "before"}, once)
    past = stripe.StripeClient("sk_test_sandbox", base_addresses={"api": sandbox.url})
    past.v1.customers.update(customer.id, {"name": "after"})
    assert client.v1.customers.create({"name": "before"}, once).name == "before"
    assert rows("SELECT name FROM stripe.customer WHERE id = %s", customer.id) == [("after",)]


def test_a_write_counts_as_the_end_of_the_second_of_its_answer(proxy, make_stripe, rows):
    customer = make_stripe(proxy).v1.customers.create({})
    dated = datetime.fromtimestamp(customer.created, UTC).replace(microsecond=999_000)
    assert rows("SELECT _sdc_as_of FROM stripe.customer") == [(dated,)]


def test_a_read_counts_as_the_beginning_of_the_second_in_which_it_was_asked_for(proxy, make_stripe, rows):
    client = make_stripe(proxy)
    product = client.v1.products.create({"name": "first"})
    client.v1.products.retrieve(product.id)
    (as_of,) = rows("SELECT _sdc_as_of FROM stripe.product")[0]
    assert as_of.microsecond == 999_000  # the read is of the same second or an earlier one, and undoes nothing


def test_a_declined_payment_is_there_with_why(proxy, make_stripe, rows):
    with pytest.raises(stripe.CardError) as declined:
        make_stripe(proxy).v1.payment_intents.create(
            {
                "amount": 1000,
                "currency": "eur",
                "payment_method": "pm_card_chargeDeclined",
                "confirm": True,
                "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
            }
        )
    intent = declined.value.error.payment_intent
    found = rows("SELECT status, last_payment_error->>'code' FROM stripe.payment_intent WHERE id = %s", intent["id"])
    assert found == [("requires_payment_method", "card_declined")]


def test_an_unknown_customer_is_stripes_answer_and_nothing_else(proxy, make_stripe, connection):
    with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
        make_stripe(proxy).v1.customers.retrieve("cus_none")
    assert connection.execute("SELECT to_regclass('stripe.customer')").fetchone() == (None,)


# Whose account it is


def test_a_key_of_the_other_mode_writes_nothing(sandbox, proxy, make_stripe, connection):
    make_stripe(proxy, key="sk_live_sandbox").v1.customers.create({})
    assert connection.execute("SELECT to_regclass('stripe.customer')").fetchone() == (None,)


def test_another_accounts_key_writes_nothing(make_sandbox, claim, make_proxy, make_stripe, connection):
    sandbox = make_sandbox(restricted_keys={"rk_test_other": "account,customer"})
    claim("acct_somebody_else")
    proxy = make_proxy(sandbox, api_key="sk_test_theirs")
    make_stripe(proxy).v1.customers.create({})
    assert connection.execute("SELECT to_regclass('stripe.customer')").fetchone() == (None,)


def test_nor_does_the_proxys_own_key_if_it_is_another_accounts(sandbox, claim, make_proxy, make_stripe, connection):
    claim("acct_somebody_else")
    make_stripe(make_proxy(sandbox)).v1.customers.create({})
    assert connection.execute("SELECT to_regclass('stripe.customer')").fetchone() == (None,)


@pytest.mark.parametrize("own_key", ["sk_live_sandbox", "sk_test_elsewhere"])
def test_what_has_to_be_read_again_is_not_read_with_a_key_of_elsewhere(sandbox, claim, make_proxy, connection, own_key):
    """There it would not be found, and so be gone."""
    claim(sandbox.account.id)
    elsewhere = Key(secret="sk_test_elsewhere", account=Service(account="empty", seed=2).account)  # noqa: S106
    sandbox.keys[elsewhere.secret] = elsewhere
    assert elsewhere.account.id != sandbox.account.id
    answer = requests.post(
        f"{make_proxy(sandbox, api_key=own_key)}/api.stripe.com/v1/customers",
        auth=("sk_test_sandbox", ""), headers={"Stripe-Version": OLD_VERSION}, timeout=10,
    )  # fmt: skip
    assert (answer.status_code, answer.headers.get("Stripe-Proxy-Applied")) == (200, "false")
    there = connection.execute("SELECT to_regclass('stripe.customer')").fetchone() != (None,)
    assert not there or connection.execute("SELECT * FROM stripe.customer").fetchall() == []


def test_nor_does_a_key_that_acts_for_another_account(proxy, make_stripe, connection):
    headers = {"Authorization": "Bearer sk_test_sandbox", "Stripe-Account": "acct_connected"}
    requests.post(f"{proxy}/api.stripe.com/v1/customers", headers=headers, timeout=10)
    assert connection.execute("SELECT to_regclass('stripe.customer')").fetchone() == (None,)


def test_a_key_that_may_not_say_whose_it_is_is_believed_as_far_as_the_syncs_own_key_sees(
    make_sandbox, claim, make_proxy, make_stripe, rows
):
    sandbox = make_sandbox(restricted_keys={"rk_test_some": "customer"})
    claim(sandbox.account.id)
    past = stripe.StripeClient("sk_test_sandbox", base_addresses={"api": sandbox.url})
    customer = past.v1.customers.create({"email": "seen@example.com"})
    make_stripe(make_proxy(sandbox), key="rk_test_some").v1.customers.retrieve(customer.id)
    assert rows("SELECT email FROM stripe.customer") == [("seen@example.com",)]


def test_before_any_sync_has_run_the_tables_are_nobodys(sandbox, make_proxy, connection):
    answer = requests.post(
        f"{make_proxy(sandbox)}/api.stripe.com/v1/customers", auth=("sk_test_sandbox", ""), timeout=10
    )
    assert (answer.status_code, answer.headers["Stripe-Proxy-Applied"]) == (200, "false")
    assert connection.execute("SELECT to_regnamespace('stripe')").fetchone() == (None,)


# Without Postgres


def test_where_postgres_is_away_the_caller_gets_stripes_answer(sandbox, make_proxy):
    proxy = make_proxy(sandbox, database_url="postgresql://nobody@127.0.0.1:9/none")
    answer = requests.post(
        f"{proxy}/api.stripe.com/v1/customers", auth=("sk_test_sandbox", ""), data={"name": "x"}, timeout=10
    )
    assert answer.json()["name"] == "x"
    assert answer.headers["Stripe-Proxy-Applied"] == "false"


def test_a_session_that_was_lost_is_opened_again(proxy, make_stripe, connection, rows):
    client = make_stripe(proxy)
    client.v1.customers.create({"name": "before"})
    connection.autocommit = True
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    lost = client.v1.customers.create({"name": "lost"})
    kept = client.v1.customers.create({"name": "after"})
    names = rows("SELECT name FROM stripe.customer WHERE id = ANY(%s)", [lost.id, kept.id])
    assert ("after",) in names


@pytest.fixture
def make_hasty(sandbox, claim, make_proxy):
    """Makes a proxy that waits for Postgres for a second."""
    claim(sandbox.account.id)
    return lambda: make_proxy(sandbox, apply_timeout_seconds=1)


def test_where_postgres_takes_too_long_nobody_waits_behind_it(make_hasty, make_stripe, database, rows):
    client = make_stripe(make_hasty())
    client.v1.customers.create({"name": "before"})
    with psycopg.connect(database) as another:
        another.execute("LOCK TABLE stripe.customer")
        began = time.monotonic()
        client.v1.customers.create({"name": "the first one waits"})
        assert 0.9 < time.monotonic() - began < 3
        began = time.monotonic()
        for _ in range(5):
            assert client.v1.customers.create({"name": "the others do not"}).name == "the others do not"
        assert time.monotonic() - began < 2
        another.rollback()
    deadline = time.monotonic() + 10
    while "the first one waits" not in {name for (name,) in rows("SELECT name FROM stripe.customer")}:
        assert time.monotonic() < deadline
        rows("SELECT pg_sleep(0.05)")
    client.v1.customers.create({"name": "after"})
    assert ("after",) in rows("SELECT name FROM stripe.customer")
