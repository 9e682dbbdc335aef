"""What an answer says of which objects, apart from how it is stored."""

from stripe_proxy.answers import Answered, told


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
