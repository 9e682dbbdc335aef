"""An answer → changes: what the pipe would make of the same objects, by the same functions.

The answer is the object if it is in the version of the rows and holds all that the rows do. Otherwise, and where Stripe
only repeats what it answered before, the object is read again with the sync's own key, and counts at least as the
answer does. Child lists that would have to be asked for are left to the feed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, cast

from stripe_proxy.answers import Answered, Told, is_expand, is_stray, told
from stripe_proxy.errors import NotAppliedError
from tap_stripe_events import changes
from tap_stripe_events.announced import only_expanded, retrieval
from tap_stripe_events.changes import Change
from tap_stripe_events.client import Answer, Request, StripeClient
from tap_stripe_events.clock import moment
from tap_stripe_events.families import names_by_stream, root_lists
from tap_stripe_events.gather import Gather, Source
from tap_stripe_events.limits import Verdict
from tap_stripe_events.object_table import STRIPE_OBJECTS
from tap_stripe_events.units import Cause, Unit

_REASON = "writes through the proxy"


@lru_cache(maxsize=8)
def stored_types(streams: frozenset[str]) -> frozenset[str]:
    """Return the object types that have tables, given the streams that a sync has bookmarks of; none: all of them."""
    return frozenset(names_by_stream()[each] for each in streams if each in names_by_stream()) or frozenset(
        STRIPE_OBJECTS
    )


@dataclass(frozen=True, kw_only=True)
class Writes:
    """Makes changes of answers. Used by several threads at once.

    Attributes:
        client: The way to Stripe with the sync's own key; None if there is none.
        api_version: The version that rows are in.
        account_id: The account.
        connected: The account again, if it is connected to the key's own; else None.
        several: Whether rows say whose they are.
        selected: The object types that have tables.
    """

    client: StripeClient | None
    api_version: str
    account_id: str
    selected: frozenset[str]
    connected: str | None = None
    several: bool = False

    def changes(self, answered: Answered) -> list[Change]:
        """Return what an answer changes; may read from Stripe.

        Raises:
            NotAppliedError: An object would have to be read again, and cannot be.
            TapError: Stripe does not answer.
        """
        found = list(told(answered))
        lacking = answered.is_list and any(_lacks(each) for each in found if each.is_own)
        if found and answered.is_read and (lacking or not self._is_of_now(answered)):
            found, answered = self._read_as_before(answered)
        changed = [change for each in _once(found) for change in self._changes(answered, each)]
        if self.several:
            for change in changed:
                change.record[changes.ACCOUNT_ID] = self.account_id
        return changed

    def _changes(self, answered: Answered, each: Told) -> Iterator[Change]:
        whole = self._is_of_now(answered) and not _lacks(each)
        found = None if whole or _is_stub(answered, each) else self._path(each)
        if found is not None:
            yield from self._read_again(each, *found, at_least=answered.as_of)
        elif self._is_of_now(answered) or _is_stub(answered, each):
            yield from self._taken(each, answered.as_of, secrets=answered.secrets)
        # Else no path answers it, and what an old version says of it is not known to be so: the feed tells.

    def _is_of_now(self, answered: Answered) -> bool:
        """Whether an answer is in the version of the rows, and shows how things are."""
        return answered.version == self.api_version and not answered.replayed

    def _read_again(self, each: Told, path: str, endpoint: str, *, at_least: int) -> Iterator[Change]:
        gather = self._gather()
        fields = gather.children.expand_one(each.name)
        parameters = {"expand[]": fields} if fields else {}
        answer = self._get(Request(path=path, endpoint=endpoint, parameters=parameters, reason=_REASON))
        as_of = max(at_least, answer.as_of * 1000)  # it was asked for after Stripe had answered the write
        if answer.verdict is Verdict.TAKE:
            again = Told(name=each.name, json=answer.body, columns=each.columns)
            yield from self._taken(again, as_of, secrets=answer.secrets)
            return
        own = {**each.columns, **gather.own_key(each.name)}
        names = STRIPE_OBJECTS[each.name].key
        key = dict(zip(names, changes.key_values(each.name, each.json) or (), strict=False))
        unit = _unit(as_of)
        gather.take_gone(unit, each.name, {name: key.get(name) or own.get(name, "") for name in names}, moment(as_of))
        yield from gather.contents(unit)

    def _read_as_before(self, answered: Answered) -> tuple[list[Told], Answered]:
        """Read what a caller has read, in the version of the rows and with all that they hold, by one request."""
        parameters: dict[str, list[str]] = {}
        for name, value in answered.parameters:
            parameters.setdefault("expand[]" if is_expand(name) else name, []).append(value)
        fields = {field for each in told(answered) if each.is_own for field in only_expanded(each.name)}
        expand = [f"data.{field}" if answered.is_list else field for field in sorted(fields)]
        if expand:
            parameters["expand[]"] = [*dict.fromkeys((*parameters.get("expand[]", ()), *expand))]
        answer = self._get(Request(path=answered.path, endpoint=answered.path, parameters=parameters, reason=_REASON))
        again = Answered(
            method="GET", path=answered.path, parameters=answered.parameters, status=200, version=self.api_version,
            dated=answer.as_of, began=answer.as_of, body=answer.body, secrets=answer.secrets,
        )  # fmt: skip
        if answer.verdict is not Verdict.TAKE:
            return [], again  # it was there a moment ago, and a read is no reason to say that it is gone
        return list(told(again)), again

    def _taken(self, each: Told, as_of: int, *, secrets: bool) -> Iterator[Change]:
        unit, gather = _unit(as_of), self._gather()
        columns = {**each.columns, **gather.own_key(each.name)}
        only_fills_a_gap = is_stray(each) and each.json.get("deleted") is not True
        source = Source(as_of=changes.GAP_FILLER if only_fills_a_gap else moment(as_of), secrets=secrets)
        gather.take_object(unit, each.name, each.json, source, columns)
        yield from gather.contents(unit)

    def _gather(self) -> Gather:
        return Gather(
            client=cast("Any", self.client), selected=self.selected, account_id=self.account_id
        )  # nothing is asked for here

    def _path(self, each: Told) -> tuple[str, str] | None:
        """Return the path that answers an object, and the path's form; None if none does."""
        if each.json.get("id") == self.account_id:
            for root in root_lists():
                if root.single and each.name in root.objects:
                    return root.path, root.path
        parents = {column.removesuffix("_id"): value for column, value in each.columns.items()}
        return retrieval(STRIPE_OBJECTS[each.name], parents | each.json)

    def _get(self, request: Request) -> Answer:
        if self.client is None:
            raise NotAppliedError(reason="it has to be read again, and the proxy has no api_key of its own")
        answer = self.client.get(replace(request, account=self.connected))
        if answer.verdict not in {Verdict.TAKE, Verdict.GONE}:
            raise NotAppliedError(reason=f"the sync's key may not read {request.endpoint}")
        return answer


def _once(found: list[Told]) -> Iterator[Told]:
    """Leave out further copies, such as the product of a hundred prices, each of which may cost a request."""
    seen: set[tuple[str, str]] = set()
    for each in found:
        key = (each.name, str(each.json.get("id")))
        if each.is_own or key not in seen:
            yield each
        seen.add(key)


def _lacks(each: Told) -> bool:
    """Whether an object lacks what is only there if it is asked for."""
    return not all(name in each.json for name in only_expanded(each.name))


def _is_stub(answered: Answered, each: Told) -> bool:
    """Whether all that is said of an object is that it was deleted just now."""
    return each.json.get("deleted") is True and not answered.replayed


def _unit(as_of: int) -> Unit:
    return Unit(cause=Cause(as_of=as_of, since=as_of // 1000))
