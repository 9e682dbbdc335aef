"""What an answer says of which objects, apart from how it is stored."""

import pytest

from stripe_proxy.answers import Answered, Told, is_stray, told


def answered(body, *, method="GET", path="/v1/x", parameters=(), status=200):
    return Answered(method=method, path=path, parameters=parameters, status=status, dated=1, began=1, body=body)


def test_what_an_object_without_a_table_lists_is_told():
    accounts = [{"id": f"fca_{n}", "object": "financial_connections.account"} for n in range(2)]
    session = {
        "id": "fcsess_1", "object": "financial_connections.session", "client_secret": "hidden",
        "accounts": {"object": "list", "data": [*accounts, None, {"object": "unheard_of", "id": "x"}]},
        "limits": {"accounts": 2},
    }  # fmt: skip
    found = list(told(answered(session, path="/v1/financial_connections/sessions/fcsess_1")))
    assert [(each.name, each.json) for each in found] == [(each["object"], each) for each in accounts]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/invoices/create_preview",
        "/v1/invoices/upcoming",
        "/v1/invoices/upcoming/lines",
        "/v1/credit_notes/preview",
        "/v1/credit_notes/preview/lines",
    ],
)
def test_a_preview_says_only_what_would_be(path):
    kind = path.split("/")[2].removesuffix("s")
    preview = {"id": "upcoming_in_1", "object": kind, "customer": {"id": "cus_1", "object": "customer"}}
    body = {"object": "list", "data": [preview]} if path.endswith("lines") else preview
    asked = answered(body, path=path, parameters=(("expand[]", "customer"), ("customer", "cus_1")))
    assert list(told(asked)) == []


def test_a_lists_parameter_tells_whose_children_it_shows():
    body = {"object": "list", "data": [{"id": "ent_1", "object": "entitlements.active_entitlement"}]}
    path = "/v1/entitlements/active_entitlements"
    (of_one,) = told(answered(body, path=path, parameters=(("customer", "cus_1"), ("limit", "3"))))
    (alone,) = told(answered(body["data"][0], path=f"{path}/ent_1"))
    assert (of_one.columns, alone.columns) == ({"customer_id": "cus_1"}, {})


def test_the_elements_of_an_expanded_list_are_left_to_their_owner_which_says_whose_they_are():
    price = {"id": "price_1", "object": "price"}
    items = {"object": "list", "data": [{"id": "li_1", "object": "item", "price": price}]}
    session = {"id": "cs_1", "object": "checkout.session", "line_items": items}
    expand = (("expand[]", "line_items"), ("expand[0]", "line_items.data.price"))
    found = list(told(answered(session, path="/v1/checkout/sessions/cs_1", parameters=expand)))
    assert [each.name for each in found] == ["checkout.session", "price"]


@pytest.mark.parametrize(
    ("name", "more", "columns", "stray"),
    [
        ("item", {}, {}, True),
        ("item", {}, {"quote_id": "qt_1"}, False),
        ("entitlements.active_entitlement", {}, {}, True),
        ("subscription_item", {"subscription": "sub_1"}, {}, False),
        ("radar.value_list_item", {"value_list": "rsl_1"}, {}, False),
        ("account", {}, {}, False),  # a list of its own shows it
        ("customer", {}, {}, False),
    ],
)
def test_an_object_is_stray_if_nothing_tells_its_parent(name, more, columns, stray):
    assert is_stray(Told(name=name, json={"id": "x", "object": name, **more}, columns=columns)) is stray
