"""The official library, through the proxy and not, sees the same Stripe; and what it was shown is in Postgres."""

import asyncio
import io
import itertools

import pytest
import requests
import stripe
from addresses import Address
from fix_upstream import RawUpstream
from library_walk import Twins
from official_library import calls
from shown import Tables

OLD_VERSION = "2020-08-27"


BY_NAME = {call.name: call for call in calls()}


@pytest.fixture
def make_twins(make_sandbox, claim, make_proxy, make_client, make_stripe, connection):  # noqa: PLR0917 - fixtures
    """Two accounts that are alike, and the library at one of them directly, at the other through a proxy."""

    def make(kind="full", **options):
        one, other = make_sandbox(kind, **options), make_sandbox(kind, **options)
        claim(other.account.id)
        return Twins(
            direct=make_client(one),
            proxied=make_stripe(make_proxy(other)),
            sandboxes=(one, other),
            tables=Tables(other, connection),
        )

    return make


def assert_alike(walk):
    assert (walk.unlike, walk.not_stored) == ([], [])


def test_every_write_of_the_library_has_the_same_outcome_and_its_objects_are_rows(make_twins):
    walk = make_twins()
    walk.writes([0, 1])
    assert_alike(walk)
    assert walk.calls > 700
    assert walk.good > 350
    assert walk.compared > 600


def test_every_list_of_the_library_is_paged_the_same_and_its_elements_are_rows(make_twins):
    walk = make_twins(most=6)
    walk.lists(4)
    assert_alike(walk)
    assert walk.good == walk.calls > 200
    assert walk.compared > 1_000


def test_every_retrieval_of_the_library_is_the_same_and_its_object_is_a_row(make_twins):
    walk = make_twins()
    walk.retrievals()
    assert_alike(walk)
    assert walk.calls > 300
    assert walk.good > 200


def test_a_parent_that_only_a_list_tells_stays_known_when_its_child_is_read_alone(make_twins, rows):
    walk = make_twins()
    entitlement = next(iter(walk.sandbox.account.store.table("entitlements.active_entitlement")))
    theirs = walk.proxied.v1.entitlements.active_entitlements
    customer = entitlement.facts["customer"]
    for _ in range(2):
        theirs.list({"customer": customer})
        walk.let_a_second_pass()
        theirs.retrieve(entitlement.key)
        found = rows("SELECT customer_id FROM stripe.entitlements_active_entitlement WHERE id = %s", entitlement.key)
        assert found == [(customer,)]


PARENTS = {
    "checkout.session": "checkout_session_id",
    "quote": "quote_id",
    "payment_link": "payment_link_id",
}


@pytest.mark.parametrize("kind", PARENTS)
def test_line_items_that_are_expanded_keep_their_parent(make_twins, rows, kind):
    walk = make_twins(most=6)
    column = PARENTS[kind]
    name = column.removesuffix("_id")
    key = next(each.facts[name] for each in walk.sandbox.account.store.table("item") if each.facts.get(name))
    call = BY_NAME[f"v1.{kind}s.retrieve"]
    found = walk.call(call, Address(values=(key,)), expand=["line_items", "line_items.data.price"])
    assert_alike(walk)
    assert rows(f"SELECT count(*) FROM stripe.item WHERE {column} = %s", key) == [
        (len(found.body["line_items"]["data"]),)
    ]


def test_paging_by_itself_goes_on_through_the_proxy(make_twins, rows):
    walk = make_twins("demo")
    direct, proxied = walk.direct, walk.proxied

    def walk(client, **params):
        pages = client.v1.customers.list({"limit": 10, **params}).auto_paging_iter()
        return [each.id for each in itertools.islice(pages, 400)]

    every = walk(direct)
    assert len(every) > 30
    assert walk(proxied) == every
    assert walk(proxied, ending_before=every[-1]) == walk(direct, ending_before=every[-1])
    assert {key for (key,) in rows("SELECT id FROM stripe.customer")} == set(every)


def test_errors_are_the_same_exceptions(make_twins):
    walk = make_twins("empty")
    create, intent = BY_NAME["v1.customers.create"], BY_NAME["v1.payment_intents.create"]
    declined = {"amount": 5, "currency": "eur", "confirm": True, "payment_method": "pm_card_chargeDeclined"}
    kinds = [
        walk.call(intent, Address(), **declined),
        walk.call(BY_NAME["v1.customers.retrieve"], Address(values=("cus_none",))),
        walk.call(create, Address(), nonsense=1),
        walk.call(create, Address(), options={"api_key": "sk_test_wrong"}),
        walk.call(create, Address(), options={"stripe_account": "acct_other"}),
        walk.call(create, Address(), options={"stripe_version": "2020"}),
        walk.call(create, Address(), options={"idempotency_key": "walk-1"}, name="B"),
    ]
    for sandbox in walk.sandboxes:
        for kind in ("rate_limit", "server_error", "lock_timeout", "unavailable"):
            fault = {"kind": kind, "path": "/v1/customers", "count": 1}
            assert requests.post(f"{sandbox.url}/_sandbox/faults", json=fault, timeout=10).ok
    kinds += [walk.call(create, Address(), name="A") for _ in range(4)]
    assert [(each.kind, each.status) for each in kinds] == [
        ("CardError", 402), ("InvalidRequestError", 404), ("InvalidRequestError", 400), ("AuthenticationError", 401),
        ("PermissionError", 403), ("InvalidRequestError", 400), ("IdempotencyError", 400), ("RateLimitError", 429),
        ("APIError", 500), ("RateLimitError", 429), ("APIError", 503),
    ]  # fmt: skip
    assert_alike(walk)


def test_options_of_the_library_reach_stripe(make_twins):
    walk = make_twins("empty")
    create, account = BY_NAME["v1.customers.create"], walk.sandbox.account.id
    once = {"idempotency_key": "once"}
    first = walk.call(create, Address(), options=once, name="A")
    assert walk.call(create, Address(), options=once, name="A").body["id"] == first.body["id"]
    assert walk.call(create, Address(), options={"stripe_account": account}).status == 200
    old = walk.call(create, Address(), options={"stripe_version": OLD_VERSION}, name="old")
    assert ("stripe-version", OLD_VERSION) in old.headers
    odd = {
        "metadata": {"a.b": "1 + 1 & =", "ü": "%2F"},
        "name": "Zoë",
        "address": "",
        "preferred_locales": ["de", "en"],
    }
    assert walk.call(create, Address(), **odd).body["metadata"] == odd["metadata"]
    assert_alike(walk)


def test_a_file_is_uploaded_through_the_proxy_to_stripes_host_for_files(make_twins, rows):
    walk = make_twins("empty")
    for content in (b"", b"\r\n--x--\r\n\x00\xff", bytes(range(256)) * 2000):
        made = []
        for client in (walk.direct, walk.proxied):
            file = io.BytesIO(content)
            file.name = "Beleg ü.PNG"
            made.append(client.v1.files.create({"purpose": "dispute_evidence", "file": file}))
        assert made[0].to_dict() == made[1].to_dict()
        assert made[1].size == len(content)
        assert rows("SELECT filename, size FROM stripe.file WHERE id = %s", made[1].id) == [
            ("Beleg ü.PNG", len(content))
        ]


def test_a_download_streams_through_the_proxy(make_proxy):
    upstream, content = RawUpstream(), bytes(range(256)) * 8_000
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in (content[:700_000], content[700_000:]))
    upstream.answer = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/pdf\r\nTransfer-Encoding: chunked\r\nRequest-Id: req_1\r\n\r\n"
        + chunks + b"0\r\n\r\n"
    )  # fmt: skip
    proxy = make_proxy(upstream)
    client = stripe.StripeClient(
        "sk_test_x", base_addresses={"api": f"{proxy}/api.stripe.com", "files": f"{proxy}/files.stripe.com"}
    )
    answer = client.v1.quotes.pdf("qt_1")
    assert answer.io.read() == content
    assert answer.headers["request-id"] == "req_1"
    assert upstream.requests[0].startswith(b"GET /v1/quotes/qt_1/pdf HTTP/1.1\r\n")
    upstream.close()


def test_programs_without_a_client_set_the_bases_of_the_module(proxy, rows, monkeypatch):
    monkeypatch.setattr(stripe, "api_key", "sk_test_sandbox")
    monkeypatch.setattr(stripe, "api_base", f"{proxy}/api.stripe.com")
    monkeypatch.setattr(stripe, "upload_api_base", f"{proxy}/files.stripe.com")
    customer = stripe.Customer.create(name="A")
    stripe.Customer.modify(customer.id, name="B")
    stripe.Customer.create_balance_transaction(customer.id, amount=5, currency="eur")
    file = io.BytesIO(b"x")
    file.name = "a.png"
    stripe.File.create(purpose="dispute_evidence", file=file)
    assert [each.id for each in stripe.Customer.list().auto_paging_iter()] == [customer.id]
    assert rows("SELECT name FROM stripe.customer") == [("B",)]
    assert rows("SELECT count(*) FROM stripe.customer_balance_transaction, stripe.file") == [(1,)]
    assert customer.delete().deleted


def test_raw_requests_go_through_the_proxy(make_twins, rows):
    walk = make_twins("empty")
    bodies = []
    for client in (walk.direct, walk.proxied):
        made = client.raw_request("post", "/v1/customers", name="raw", metadata={"n": "1"})
        key = client.deserialize(made, api_mode="V1").id
        answers = [made, client.raw_request("get", f"/v1/customers/{key}"), client.raw_request("get", "/v1/customers")]
        bodies.append([each.data for each in answers])
    assert bodies[0] == bodies[1]
    assert rows("SELECT name, metadata FROM stripe.customer") == [("raw", {"n": "1"})]


def test_the_asynchronous_library_goes_through_the_proxy(proxy, rows):
    async def write():
        transport = stripe.AIOHTTPClient()
        client = stripe.StripeClient(
            "sk_test_sandbox", base_addresses={"api": f"{proxy}/api.stripe.com"}, http_client=transport
        )
        try:
            made = await asyncio.gather(*(client.v1.customers.create_async({"name": f"async {n}"}) for n in range(20)))
            listed = await client.v1.customers.list_async({"limit": 3})
            with pytest.raises(stripe.InvalidRequestError):
                await client.v1.customers.retrieve_async("cus_none")
            return [each.id for each in made], [each.id async for each in listed.auto_paging_iter()]
        finally:
            await transport.close_async()

    made, listed = asyncio.run(write())
    assert sorted(made) == sorted(listed)
    assert sorted(key for (key,) in rows("SELECT id FROM stripe.customer")) == sorted(made)
