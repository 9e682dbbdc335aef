"""What the README says of permissions is what the object table says, and of every stream that has a list."""

from tap_stripe_events.object_table import STRIPE_LISTS, STRIPE_OBJECTS
from tap_stripe_events.permissions import permissions


def test_every_stream_that_has_a_list_is_under_a_permission() -> None:
    told = {stream for each in permissions() for stream in (*each.streams, *each.presumed)}
    listed = {STRIPE_OBJECTS[name].stream for each in STRIPE_LISTS if each.passes for name in each.objects}
    assert told == listed


def test_what_is_documented_is_told_from_what_is_presumed() -> None:
    by_name = {each.name: each for each in permissions()}
    assert {"charge", "refund", "radar_early_fraud_warning"} <= set(by_name["charge_read"].streams)
    assert by_name["charge_read"].presumed == ()
    assert "balance_transaction" in by_name["balance_read"].presumed
    assert "balance" in by_name["balance_read"].streams
    assert "climate_order" in by_name[""].streams
    assert permissions()[-1].name == ""
    names = [each.name for each in permissions()[:-1]]
    assert names == sorted(names)
