"""Source 3: what Stripe computes on request → changes. The invoices that would come next.

A preview is asked for when an event says that it may differ (`previews`), soon after a period ends, and once in a while
each, since usage is silent: every preview has a second of its own in each period (`roster.slot`), so that the requests
are spread and one moment in the bookmark says which of them are done. A round is one period: what it did not show is
gone.

Invariants:
* of one key there is one request at a time, and after every event about it one that left later;
* `events_as_of` moves when all that events told of up to then has been delivered.

Odd: the first round lies in the past. It is the period before the run, so that everything in it is due at once.
"""

import logging
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tap_stripe_events import changes, previews
from tap_stripe_events.bookmarks import Bookmarks
from tap_stripe_events.changes import Change
from tap_stripe_events.client import Answer, Request, StripeClient, list_elements
from tap_stripe_events.clock import moment
from tap_stripe_events.gather import endless, refusal_reason
from tap_stripe_events.limits import Verdict
from tap_stripe_events.listing import Activate, Warnings
from tap_stripe_events.objects import CUSTOMER_PREVIEW, PREVIEWS, SUBSCRIPTION_PREVIEW
from tap_stripe_events.plan import too_old
from tap_stripe_events.previews import Affected
from tap_stripe_events.request_queue import RequestQueue
from tap_stripe_events.roster import Key, Roster, next_slot
from tap_stripe_events.shapes import StripeJson, reference_id
from tap_stripe_events.windows import PAGE

METERED_SECONDS = 3_600
"""How often previews are computed anew where usage is billed, if the allowance has room for it."""

_LOOK_SECONDS = 60  # how often a run that follows looks whose turn it is
_REST_SECONDS = 900  # runs that end look only if so much time has passed
_AFTER_PERIOD_SECONDS = 60  # Stripe renews within a minute or so
_AHEAD = 16  # requests that wait to be sent; the rest wait as keys, so that one that events tell of twice is asked once
_ALLOWANCE_SECONDS = 30 * 86_400
_ALLOWANCE_EACH, _ALLOWANCE_LEAST = 500, 10_000  # reads for each payment in that time, and at the least
_REASON = "previews"
_LONGEST_WARNINGS = 5

_logger = logging.getLogger("tap-stripe-events.upcoming")


@dataclass(frozen=True, kw_only=True, eq=False)
class PreviewPurpose:
    """A preview, or a page of its lines.

    Attributes:
        key: Whom it is for.
        at_least: The moment of the events that are the reason, in milliseconds; 0: none are.
        turn: The second that it is the preview's turn for; None: it is not.
        body: The preview, if this is about its lines.
        lines: The lines so far.
        as_of: The second as of which the preview was computed.
    """

    key: Key
    at_least: int
    turn: int | None
    body: StripeJson | None = None
    lines: tuple[StripeJson, ...] = ()
    as_of: int = 0

    @property
    def stream(self) -> str:
        """The stream to name in an error."""
        return self.key.name


@dataclass(frozen=True, kw_only=True, eq=False)
class RosterPurpose:
    """A page of a list that says who may be billed.

    Attributes:
        path: The list.
        parameters: Its parameters, without the cursor.
        last: The cursor; None on the first page.
    """

    path: str
    parameters: dict[str, Any]
    last: str | None = None
    stream: str = SUBSCRIPTION_PREVIEW


@dataclass(kw_only=True, eq=False)
class _Round:
    """The turns of one kind of preview.

    Attributes:
        name: The kind.
        until: All turns up to this second are waiting, or done.
        due: The turns that wait, earliest first.
        open: The turns that are asked for.
        announced: It was said how many turns there are.
    """

    name: str
    until: int
    due: deque[tuple[int, Key]] = field(default_factory=deque)
    open: set[tuple[int, Key]] = field(default_factory=set)
    announced: bool = False

    @property
    def done(self) -> int:
        """The second up to which all turns are done."""
        waiting = [turn for turn, _ in self.open]
        if self.due:
            waiting.append(self.due[0][0])
        return min(waiting, default=self.until + 1) - 1


Item: TypeAlias = Change | Activate


class Upcoming:
    """Asks for previews.

    Args:
        client: The way to Stripe; nothing is sent from here.
        bookmarks: The state.
        selected: The kinds of previews that are wanted.
        refresh_seconds: How often each is computed anew.
        create: Ask by POST `create_preview`, which takes a key that may write, and knows subscriptions only.
        follows: The run goes on, and whose turn it is is looked up again.
        warnings: Where it is said what may not be read.
    """

    def __init__(
        self,
        *,
        client: StripeClient,
        bookmarks: Bookmarks,
        selected: Collection[str],
        refresh_seconds: int,
        create: bool,
        follows: bool,
        warnings: Warnings,
    ) -> None:
        self._client = client
        self._bookmarks = bookmarks
        self._wanted_kinds = frozenset(selected)
        self._refresh_seconds = refresh_seconds
        self._metered_seconds = min(METERED_SECONDS, refresh_seconds)
        self._create = create
        self._follows = follows
        self._warnings = warnings
        self._roster = Roster()
        self._roster_requests = RequestQueue()
        self._roster_open = 0
        self._hidden: str | None = None  # why the roster may lack somebody
        self._causes: list[tuple[int, Affected]] = []  # what cannot be told without the roster, numbered
        self._told = 0  # the number of the last cause
        self._asked: dict[Key, int] = {}  # until the roster is listed: what was asked for after which cause
        self._wanted: dict[Key, int] = {}  # keys that events are about → the moment of the newest, in milliseconds
        self._open: dict[Key, bool] = {}  # keys that are asked for → whether events are the reason
        self._urgent = RequestQueue()
        self._turns = RequestQueue()
        self._rounds: dict[str, _Round] = {}
        self._barrier: tuple[int, set[Key]] | None = None  # up to this second all is in when these are delivered
        self._up_to: int | None = None  # the latest second that the feed has said this of
        self._taken_to: int | None = None
        self._looked_at: int | None = None
        self._warned = 0
        self._has_moved = False
        self.turns = _Later(self)

    # What the run asks

    @property
    def queues(self) -> tuple[RequestQueue, ...]:
        """What is to be asked for at once, most urgent first."""
        while self._wanted and len(self._urgent) < _AHEAD:
            key = next((each for each in self._wanted if each not in self._open), None)
            if key is None:
                break
            self._urgent.append(self._request(key, at_least=self._wanted.pop(key), turn=None))
            self._open[key] = True
            if not self._roster.listed:
                self._asked[key] = self._told
        return self._urgent, self._roster_requests

    @property
    def later(self) -> tuple[RequestQueue, ...]:
        """What is asked for when nothing else is."""
        for each in self._rounds.values():
            while each.due and len(self._turns) < _AHEAD:
                turn, key = each.due.popleft()
                if key not in self._open and key not in self._wanted:  # else it is asked for anyway
                    self._turns.append(self._request(key, at_least=0, turn=turn))
                    self._open[key] = False
                    each.open.add((turn, key))
        return (self._turns,)

    @property
    def busy(self) -> bool:
        """Whether anything that was begun is not delivered yet."""
        turns = any(each.due for each in self._rounds.values())
        return turns or self._roster_open > 0 or bool(self._wanted or self._open or self._causes)

    @property
    def since(self) -> int | None:
        """From when the feed has to be read for previews; None if it need not be."""
        if self._taken_to is not None:
            return self._taken_to
        found = [self._bookmarks.events_as_of(each) for each in self._kinds()]
        return min((each for each in found if each is not None), default=None)

    def version(self, change: Change) -> int | None:
        """Return the version of the round that a change belongs to."""
        began = self._bookmarks.round_since(change.stream)
        return None if began is None else began * 1000

    def progress(self) -> str:
        """Return in words how far the first round is; empty if none is under way."""
        filling = [each for each in self._rounds.values() if not self._bookmarks.backfilled(each.name)]
        rest = sum(len(each.due) + len(each.open) for each in filling)
        if not rest:
            return ""
        return f", {rest} previews to go ({_span(rest / self._per_second)} at the least)"

    @property
    def _per_second(self) -> int:
        return self._client.endpoint_requests_per_second

    def _kinds(self) -> list[str]:
        """The kinds that are not refused."""
        return [each for each in sorted(self._wanted_kinds) if self._bookmarks.denied(each) is None]

    # The beginning

    def begin(self, *, denied_seconds: int) -> None:
        """Take up where the last run ended.

        Args:
            denied_seconds: After how many seconds it is tried again what Stripe refuses.
        """
        second = self._client.stripe_clock.second()
        for name in sorted(self._wanted_kinds):
            self._bookmarks.kept_by(name, PREVIEWS[name].kept_by.value)
            tried = self._bookmarks.denied_tried_at(name)
            if tried is not None and second - tried >= denied_seconds:
                self._bookmarks.allow(name)
            if self._create and name == CUSTOMER_PREVIEW:
                self._deny([name], "upcoming_api: create_preview knows no preview for a customer", not_set_up=False)
        for name in self._kinds():
            as_of, done = self._bookmarks.events_as_of(name), self._bookmarks.refreshed_at(name)
            if as_of is None or done is None or too_old(as_of, second):
                self._bookmarks.begin_previews(name, second, refreshed=second - self._refresh_seconds)
                done = second - self._refresh_seconds
            self._rounds[name] = _Round(name=name, until=done)
        self._look(second)

    def _look(self, second: int) -> None:
        """Look whose turn it is, or have the roster listed that says so."""
        self._looked_at = second
        if not self._rounds:
            return
        oldest = min(each.until for each in self._rounds.values())
        unfinished = not all(self._bookmarks.backfilled(each) for each in self._rounds)
        if not (self._follows or self._causes or unfinished or second - oldest >= _REST_SECONDS):
            return
        if not self._roster.listed:
            self._list_roster()
            return
        for each in self._rounds.values():
            self._take_turns(each, second)

    def _take_turns(self, each: _Round, second: int) -> None:
        found = []
        for key, metered in self._roster.keys(frozenset({each.name})):
            turn = next_slot(key, each.until, self._metered_seconds if metered else self._refresh_seconds)
            if turn <= second:
                found.append((turn, key))
        each.due.extend(sorted(found))
        for billed in self._roster.ended(each.until - _AFTER_PERIOD_SECONDS, second - _AFTER_PERIOD_SECONDS):
            self._want(Key(name=SUBSCRIPTION_PREVIEW, id=billed.id), 0)
            self._want(Key(name=CUSTOMER_PREVIEW, id=billed.customer), 0)
        each.until = max(each.until, second)
        if not self._bookmarks.backfilled(each.name) and each.due and not each.announced:
            each.announced = True
            _logger.info(
                "%s: %d previews to ask for, at most %d a second: %s. The setting upcoming_api: off leaves them out.",
                each.name,
                len(each.due),
                self._per_second,
                _span(len(each.due) / self._per_second),
            )

    # The roster

    def _list_roster(self) -> None:
        if self._roster_open:
            return
        # Coupons are shown only if they are asked for.
        self._ask_roster("/v1/subscriptions", {"expand[]": ["data.discounts", "data.items.data.discounts"]})
        if CUSTOMER_PREVIEW in self._kinds():
            self._ask_roster("/v1/invoiceitems", {"pending": "true"})
        if not self._bookmarks.livemode:
            self._ask_roster("/v1/test_helpers/test_clocks", {})

    def _ask_roster(self, path: str, parameters: dict[str, Any], last: str | None = None) -> None:
        cursor = {} if last is None else {"starting_after": last}
        purpose = RosterPurpose(path=path, parameters=parameters, last=last)
        query = {"limit": PAGE, **parameters, **cursor}
        self._roster_requests.append(
            Request(path=path, endpoint=path, parameters=query, purpose=purpose, reason=_REASON)
        )
        self._roster_open += 1

    def _take_roster(self, purpose: RosterPurpose, answer: Answer) -> None:
        self._roster_open -= 1
        expands = "expand[]" in purpose.parameters
        match answer.verdict:
            case Verdict.TAKE:
                self._take_roster_page(purpose, answer)
            case Verdict.DENIED | Verdict.NOT_EXPANDABLE if expands:
                rest = {name: value for name, value in purpose.parameters.items() if name != "expand[]"}
                self._ask_roster(purpose.path, rest, purpose.last)
            case Verdict.CURSOR_GONE:
                self._ask_roster(purpose.path, purpose.parameters)
            case _ if purpose.path == "/v1/subscriptions" and "test_clock" not in purpose.parameters:
                not_set_up = answer.verdict is Verdict.NOT_SET_UP
                self._deny(self._kinds(), refusal_reason(answer), not_set_up=not_set_up)
            case _:
                self._hidden = f"{purpose.path}: {refusal_reason(answer)}"
        if not self._roster_open and self._rounds:
            self._listed()

    def _take_roster_page(self, purpose: RosterPurpose, answer: Answer) -> None:
        found, more = list_elements(answer, self._client.api_url)
        for each in found:
            match each.get("object"):
                case "subscription" if (told := previews.billed(each)) is not None:
                    self._roster.take(told)
                case "invoiceitem" if isinstance(customer := reference_id(each.get("customer")), str):
                    self._roster.wait(customer)
                case "test_helpers.test_clock":
                    self._ask_roster("/v1/subscriptions", {"test_clock": each.get("id")})
        if more:
            last = found[-1].get("id") if found else None
            if not isinstance(last, str) or last == purpose.last:
                raise endless(answer, f"the same page again, ending with {last}", self._client.api_url)
            self._ask_roster(purpose.path, purpose.parameters, last)

    def _listed(self) -> None:
        self._roster.listed = True
        self._fit_allowance()
        second = self._client.stripe_clock.second()
        causes, self._causes = self._causes, []
        for number, cause in causes:
            for key in self._affected(cause):
                if self._asked.get(key, -1) < number and self._want(key, cause.as_of) and self._barrier is not None:
                    self._barrier[1].add(key)
        self._asked.clear()
        self._look(second)

    def _fit_allowance(self) -> None:
        """Have metered previews computed less often than every hour if they would take more than half of all reads."""
        metered = sum(metered for _, metered in self._roster.keys(frozenset(self._rounds)))
        payments = self._roster.payments(_ALLOWANCE_SECONDS)
        room = max(_ALLOWANCE_LEAST, _ALLOWANCE_EACH * payments) / 2
        wanted = metered * _ALLOWANCE_SECONDS / room
        fitting = int(min(max(self._metered_seconds, wanted), self._refresh_seconds))
        if fitting > self._metered_seconds:
            _logger.info(
                "%d metered previews are computed every %s and not every %s, within Stripe's allowance of reads",
                metered,
                _span(fitting),
                _span(self._metered_seconds),
            )
            self._metered_seconds = fitting

    # Events

    def watch(self, event: StripeJson) -> None:
        """Take in a new event."""
        if not self._rounds:
            return
        json_object = event["data"].get("object") if isinstance(event.get("data"), dict) else None
        if not isinstance(json_object, dict):
            return
        if json_object.get("object") == "subscription" and (told := previews.billed(json_object)) is not None:
            self._roster.take(told)
        cause = previews.affected(event)
        if cause is None:
            return
        self._told += 1
        if not self._roster.listed and cause.subscription is None:
            self._causes.append((self._told, cause))
            return
        for key in self._affected(cause):
            self._want(key, cause.as_of)

    def _affected(self, cause: Affected) -> list[Key]:
        """Return whose previews an event says may differ."""
        roster, keys = self._roster, []
        if cause.used is not None:
            for billed in roster.using(cause.used):
                keys += [Key(name=SUBSCRIPTION_PREVIEW, id=billed.id), Key(name=CUSTOMER_PREVIEW, id=billed.customer)]
        elif cause.subscription is not None:
            keys.append(Key(name=SUBSCRIPTION_PREVIEW, id=cause.subscription))
            customer = cause.customer or roster.customer_of(cause.subscription)
            if customer is not None:
                keys.append(Key(name=CUSTOMER_PREVIEW, id=customer))
        elif cause.customer is not None:
            if cause.makes:
                roster.wait(cause.customer)
            if cause.makes or roster.has(cause.customer):
                keys.append(Key(name=CUSTOMER_PREVIEW, id=cause.customer))
            keys += [Key(name=SUBSCRIPTION_PREVIEW, id=each) for each in sorted(roster.of_customer(cause.customer))]
        return keys

    def _want(self, key: Key, as_of: int) -> bool:
        """Have a preview asked for; return whether it is."""
        if key.name not in self._rounds:
            return False
        self._wanted[key] = max(as_of, self._wanted.get(key, 0))
        return True

    def up_to(self, second: int) -> None:
        """Take in that the feed has been read up to a second."""
        self._taken_to = self._up_to = second

    def _move_events(self) -> None:
        """Move `events_as_of` as far as everything is delivered."""
        while True:
            if self._barrier is None and self._up_to is not None:
                urgent = {key for key, urgent in self._open.items() if urgent}
                self._barrier, self._up_to = (self._up_to, urgent | self._wanted.keys()), None
            if self._barrier is None or self._barrier[1] or self._causes:
                return
            self._bookmarks.move_events(self._rounds, self._barrier[0])
            self._barrier = None

    # Answers

    def take(self, answer: Answer) -> Iterator[Item]:
        """Take an answer, and yield what can be delivered with it.

        Raises:
            TapError: The run cannot go on.
        """
        purpose = answer.request.purpose
        if isinstance(purpose, RosterPurpose):
            self._take_roster(purpose, answer)
        elif purpose.key.name in self._rounds:  # else it was refused while this was on its way
            yield from self._take_preview(purpose, answer)

    def _take_preview(self, purpose: PreviewPurpose, answer: Answer) -> Iterator[Item]:
        match answer.verdict:
            case Verdict.TAKE:
                lines = self._lines(purpose, answer)
                if isinstance(lines, Request):
                    (self._turns if purpose.turn is not None else self._urgent).appendleft(lines)
                    return
                as_of = moment(max((purpose.as_of or answer.as_of) * 1000, purpose.at_least))
                yield self._change(purpose.key, {**(purpose.body or answer.body), "lines": lines}, as_of)
            case Verdict.GONE:
                as_of = moment(max(answer.as_of * 1000, purpose.at_least))
                yield changes.gone(purpose.key.name, _columns(purpose.key), as_of=as_of)
            case Verdict.DENIED | Verdict.NOT_SET_UP:
                not_set_up = answer.verdict is Verdict.NOT_SET_UP
                self._deny(self._kinds(), refusal_reason(answer), not_set_up=not_set_up)
                return
            case _:
                self._warn(purpose.key, refusal_reason(answer))
        self._end(purpose)

    def _lines(self, purpose: PreviewPurpose, answer: Answer) -> StripeJson | Request:
        """Return the complete list of a preview's lines, or what must be asked for."""
        body = purpose.body or answer.body
        found = answer.body if purpose.body is not None else body.get("lines")
        if not isinstance(found, dict) or not isinstance(found.get("data"), list):
            return {"object": "list", "data": list(purpose.lines), "has_more": False}
        lines = (*purpose.lines, *changes.elements(found))
        last = lines[-1].get("id") if lines else None
        if found.get("has_more") is not True or self._create or not isinstance(last, str):
            if found.get("has_more") is True:
                self._warn(purpose.key, "Stripe shows only the first of its lines")
            return {**(body.get("lines") or found), "data": list(lines), "has_more": found.get("has_more") is True}
        if answer.request.parameters.get("starting_after") == last:
            raise endless(answer, f"the same page again, ending with {last}", self._client.api_url)
        return Request(
            path=previews.LINES_PATH,
            endpoint=previews.LINES_PATH,
            parameters={previews.PARAMETERS[purpose.key.name]: purpose.key.id, "limit": PAGE, "starting_after": last},
            version=previews.VERSION,
            of_one=True,
            purpose=PreviewPurpose(
                key=purpose.key,
                at_least=purpose.at_least,
                turn=purpose.turn,
                body=body,
                lines=lines,
                as_of=purpose.as_of or answer.as_of,
            ),
            reason=_REASON,
        )

    def _change(self, key: Key, body: StripeJson, as_of: str) -> Change:
        columns = _columns(key)
        if (subscription := previews.subscription_of(body)) is not None:
            columns.setdefault("subscription_id", subscription)
        found = changes.read(previews.in_our_version(body), key.name, as_of=as_of, columns=columns)
        assert found is not None  # noqa: S101 - only a stub of something deleted has no record, and this is none
        return found.change

    def _end(self, purpose: PreviewPurpose) -> None:
        key = purpose.key
        self._open.pop(key, None)
        if purpose.turn is not None:
            self._rounds[key.name].open.discard((purpose.turn, key))
        if self._barrier is not None and key not in self._wanted:
            self._barrier[1].discard(key)

    def _warn(self, key: Key, reason: str) -> None:
        """Say that one preview is refused. Its row stays as it is, so that the round proves nothing."""
        self._warned += 1
        if self._warned <= _LONGEST_WARNINGS:
            rest = " Further ones are only counted." if self._warned == _LONGEST_WARNINGS else ""
            _logger.warning("%s of %s is not read: %s. Its row stays as it is.%s", key.name, key.id, reason, rest)
        self._bookmarks.leave_out(key.name, self._path, reason)

    @property
    def _path(self) -> str:
        return previews.CREATE_PATH if self._create else previews.PATH

    def _deny(self, names: Collection[str], reason: str, *, not_set_up: bool) -> None:
        second = self._client.stripe_clock.second()
        for name in names:
            self._warnings.refused(f"Stream {name}", reason, not_set_up=not_set_up)
            self._bookmarks.deny(name, reason, second, not_set_up=not_set_up)
            self._rounds.pop(name, None)
        self._open = {key: urgent for key, urgent in self._open.items() if key.name in self._rounds}
        self._wanted = {key: as_of for key, as_of in self._wanted.items() if key.name in self._rounds}
        for waiting in (self._urgent, self._turns):
            waiting.remove(lambda request: request.purpose.key.name not in self._rounds)
        if self._barrier is not None:
            self._barrier = (self._barrier[0], {key for key in self._barrier[1] if key.name in self._rounds})
        if not self._rounds:
            self._causes.clear()

    def _request(self, key: Key, *, at_least: int, turn: int | None) -> Request:
        return Request(
            path=self._path,
            endpoint=self._path,
            parameters={previews.PARAMETERS[key.name]: key.id},
            post=self._create,
            version=None if self._create else previews.VERSION,
            of_one=True,
            purpose=PreviewPurpose(key=key, at_least=at_least, turn=turn),
            reason=_REASON,
        )

    # Between answers

    def settle(self) -> Iterator[Activate]:
        """Look whose turn it is if it is time, and yield the rounds that are finished."""
        second = self._client.stripe_clock.second()
        if self._follows and self._looked_at is not None and second - self._looked_at >= _LOOK_SECONDS:
            self._look(second)
        if self._causes and not self._roster.listed and self._rounds:
            self._list_roster()
        for each in self._rounds.values():
            if self._roster.listed and each.done != self._bookmarks.refreshed_at(each.name):
                self._bookmarks.refreshed(each.name, each.done)
                self._has_moved = True
                yield from self._finish(each)
        self._move_events()

    def _finish(self, each: _Round) -> Iterator[Activate]:
        """End the round if every preview has had its turn in it, and begin the next one."""
        began = self._bookmarks.round_since(each.name)
        filling = not self._bookmarks.backfilled(each.name)
        ends = began if began is None or filling else began + self._refresh_seconds
        if began is None or ends is None or each.done < ends:
            return
        if not self._bookmarks.not_read(each.name) and self._hidden is None:
            yield Activate(stream=each.name, version=began * 1000)
        self._bookmarks.finish_round(each.name, self._client.stripe_clock.second())

    def has_moved(self) -> bool:
        """Whether a bookmark has moved since this was last asked."""
        moved, self._has_moved = self._has_moved, False
        return moved


class _Later:
    """The turns, as a source of their own, so that all that is more urgent can be asked for before them."""

    def __init__(self, upcoming: Upcoming) -> None:
        self._upcoming = upcoming

    @property
    def queues(self) -> tuple[RequestQueue, ...]:
        """What is to be asked for."""
        return self._upcoming.later

    def take(self, answer: Answer) -> Iterator[Item]:
        """Take an answer."""
        return self._upcoming.take(answer)


def _columns(key: Key) -> dict[str, str]:
    return {PREVIEWS[key.name].key[0]: key.id}


def _span(seconds: float) -> str:
    """Return a time in words: `40 s`, `12 min`, `2.5 h`."""
    if seconds < 90:  # noqa: PLR2004
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"  # noqa: PLR2004
