"""One run over several Stripe accounts: the key's own and those connected to it, each with bookmarks of its own.

Every account has a `Run`, which is asked to go on when an answer for it has come or its time is up. All share the
client, and with it the budget of requests: Stripe counts what a platform asks for connected accounts as the platform's.
So that memory and requests are not spread over hundreds of unfinished backfills, only a few accounts catch up at once;
those that have caught up come first.

What one account is refused is its own matter: an account that the key has no access to any more is noted as refused in
each of its bookmarks; one that fails otherwise is left until later, and the run goes on with the others.

Invariant: a `Checkpoint` is yielded only while every run pauses, so that what all bookmarks say has been delivered.
"""

import json
import logging
import math
import re
from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from dataclasses import dataclass, replace

from tap_stripe_events.bookmarks import AccountsBookmarks, Bookmarks
from tap_stripe_events.changes import ACCOUNT_ID, DELETED_AT
from tap_stripe_events.client import Answer, Request, StripeClient, list_elements
from tap_stripe_events.clock import Clock
from tap_stripe_events.errors import (
    AccountsFailedError,
    AccountsUnknownError,
    KeyRefusedError,
    RetriesSpentError,
    TapError,
    WrongSettingError,
)
from tap_stripe_events.families import names_by_stream
from tap_stripe_events.flight import Flight
from tap_stripe_events.keys import without_keys
from tap_stripe_events.limits import Refusal, Verdict
from tap_stripe_events.listing import Activate
from tap_stripe_events.object_table import STRIPE_OBJECTS
from tap_stripe_events.request_queue import RequestQueue
from tap_stripe_events.sync import IDLE_STATE_SECONDS, CaughtUp, Checkpoint, Delivery, Pause, Run, Steps, Taken, advance

_ID = re.compile(r"acct_[A-Za-z0-9]+")
_ACCOUNT, _ACCOUNTS = "/v1/account", "/v1/accounts"
_NO_ACCESS = "account_invalid"
_AT_ONCE = 16  # accounts that catch up at the same time
_POLL_SHARE = 0.5  # the part of the requests that polls may take
_STATE_SECONDS = 0.2  # the least time between two STATEs,
_STATE_SECONDS_EACH = 0.01  # and by how much it is longer for each account: a STATE holds the bookmarks of all
_LOOK_AGAIN_SECONDS = 600.0  # how often a run that follows looks for new accounts, and tries what has failed
_PROGRESS_SECONDS = 10.0
_NAMED = 3
_MOST_SILENCES = 3  # as many accounts of which Stripe answers nothing: it is Stripe then

_logger = logging.getLogger("tap-stripe-events")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which accounts are to be read.

    Attributes:
        ids: The connected accounts; None: all.
        own: Whether the key's own account is read too.
    """

    ids: tuple[str, ...] | None
    own: bool = True


def wanted_accounts(setting: bool | str | list[str], *, own: bool) -> Wanted | None:
    """Return which accounts are to be read; None if that is the key's own alone, of which no record says so.

    Args:
        setting: `connected_accounts`: false, true, or a list of ids. What comes through the environment is a text.
        own: `own_account`.

    Raises:
        WrongSettingError: It is something else.
    """
    if isinstance(setting, str):
        setting = _from_text(setting)
    if setting is False:
        if not own:
            problem, way_out = (
                "without connected_accounts there is no other",
                "Set connected_accounts, or this to true.",
            )
            raise WrongSettingError(setting="own_account", problem=f"it is false, and {problem}", way_out=way_out)
        return None
    ids = None if setting is True else tuple(dict.fromkeys(setting))
    odd = [each for each in ids or () if not _ID.fullmatch(each)]
    if odd:
        raise WrongSettingError(
            setting="connected_accounts",
            problem=f"{without_keys(odd[0])!r} is not the id of an account",
            way_out='Write true for all, or ids: ["acct_1Abc"].',
        )
    return Wanted(ids=ids, own=own)


def _from_text(text: str) -> bool | list[str]:
    """Return what a text means: `true`, `false`, a JSON list, or ids with commas between them."""
    if (plain := text.strip().lower()) in {"true", "false", ""}:
        return plain == "true"
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    return [str(each) for each in found] if isinstance(found, list) else [each.strip() for each in text.split(",")]


@dataclass(kw_only=True, eq=False)
class _Member:
    """An account that is being read."""

    id: str
    flight: Flight
    steps: Steps
    wakes_at: float = 0.0
    records: int = 0
    caught_up: bool = False


class _Speaker(logging.Filter):
    """Puts before each line of the log whose run it comes from."""

    account = ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every line pass."""
        if self.account:
            record.msg, record.args = f"{self.account}: {record.getMessage()}", ()
        return True


_speaker = _Speaker()
for _name in ("", ".backfill", ".client", ".feed", ".gather", ".upcoming"):  # a logger's filter is not its children's
    logging.getLogger(_logger.name + _name).addFilter(_speaker)


class AccountsRun:
    """One reading of several accounts; to its caller it is like a `Run`.

    Args:
        client: The way to Stripe.
        bookmarks: The state.
        own_id: The key's own account; None if the key may not know it.
        wanted: Which accounts.
        streams: The selected streams.
        make_run: Makes the run of an account, given its bookmarks, its flight and how far its polls are apart at least.
        requests_per_second: The most requests in any second.
        follows: Whether the run goes on after it has caught up.
        clock: The machine's clock.
    """

    def __init__(
        self,
        *,
        client: StripeClient,
        bookmarks: AccountsBookmarks,
        own_id: str | None,
        wanted: Wanted,
        streams: Collection[str],
        make_run: Callable[[Bookmarks, Flight, float], Run],
        requests_per_second: int,
        follows: bool,
        clock: Clock,
    ) -> None:
        self._client = client
        self._bookmarks = bookmarks
        self._own_id = own_id
        self._wanted = wanted
        self._streams = frozenset(streams)
        self._make_run = make_run
        self._requests_per_second = requests_per_second
        self._follows = follows
        self._clock = clock
        self._members: dict[Flight, _Member] = {}
        self._joined: set[str] = set()  # read in this run, or about to be
        self._waiting: deque[str] = deque()  # not begun yet
        self._crowded: deque[_Member] = deque()  # could ask for more once another request is answered
        self._failed: dict[str, TapError] = {}
        self._silences = 0  # accounts without any answer, in a row
        self._refused: set[str] = set()
        self._done = 0
        self._caught_up = False
        self._due_at = math.inf  # when a checkpoint is due that a run has asked for
        self._checked_at = self._told_at = self._began_at = clock.monotonic()
        self._looks_at = self._began_at
        self._counted: Counter[str] = Counter()
        self._items = self._run()
        self.exit_code: int | None = None
        if wanted.own and own_id is None:
            raise AccountsUnknownError(what="the key's own account", path=_ACCOUNT, why="the key may not read it")

    def until_caught_up(self) -> Iterator[Delivery | Activate | Checkpoint]:
        """Yield what the accounts bring, up to the point where all have caught up.

        Raises:
            AccountsFailedError: Some of the accounts could not be read; all others have caught up.
            TapError: The run cannot go on.
        """
        if not self._caught_up:
            yield from self._items

    def follow(self) -> Iterator[Delivery | Activate | Checkpoint]:
        """Yield what comes after that, until the run is stopped.

        Raises:
            TapError: The run cannot go on.
        """
        yield from self._run()

    def stop(self, exit_code: int) -> None:
        """Deliver nothing more than the rest of the present answer."""
        self.exit_code = exit_code

    @property
    def delivered(self) -> Mapping[str, int]:
        """How many records of each stream there were."""
        return self._counted

    def tell(self, what: str) -> None:
        """Log in one line what came of the run so far.

        Args:
            what: What it is at, or how it ends.
        """
        self._told_at = self._clock.monotonic()
        largest = [f"{stream} {count}" for stream, count in self._counted.most_common(4)]
        _logger.info(
            "%s: %d accounts, of which %d are done, %d caught up and followed, %d under way, %d to come, %d refused, "
            "%d failed; %d records of %d streams (%s) with %d requests (tried again %d), %.1f s",
            what,
            len(self._joined),
            self._done,
            sum(each.caught_up for each in self._members.values()),
            self._under_way,
            len(self._waiting),
            len(self._refused),
            len(self._failed),
            self._counted.total(),
            len(self._counted),
            ", ".join(largest) or "nothing yet",
            self._client.requests_sent,
            self._client.sent_again,
            self._told_at - self._began_at,
        )

    # The loop

    def _run(self) -> Iterator[Delivery | Activate | Checkpoint]:
        if not self._joined:
            yield from self._look()
            yield Checkpoint()
        while self.exit_code is None:
            if not self._members and not self._waiting and not (self._caught_up and self._follows):
                break
            if not self._caught_up and self._follows and not self._under_way and not self._waiting:
                break
            yield from self._begin()
            yield from self._wake()
            yield from self._take(self._until_next())
            yield from self._settle()
        yield Checkpoint()
        if self.exit_code is None:
            self._caught_up = True
            self._finish()

    def _finish(self) -> None:
        """Leave the first pass.

        Raises:
            AccountsFailedError: The run ends with it, and some accounts have failed.
        """
        self.tell("Caught up" if self._follows else "Finished")
        if self._failed and not self._follows:
            shown = "; ".join(f"{account}: {error}" for account, error in list(self._failed.items())[:_NAMED])
            raise AccountsFailedError(failed=len(self._failed), all=len(self._joined), shown=shown)

    @property
    def _under_way(self) -> int:
        return sum(not each.caught_up for each in self._members.values())

    def _begin(self) -> Iterator[Delivery | Activate]:
        """Begin with as many accounts as may catch up at once."""
        while self._waiting and self._under_way < _AT_ONCE:
            identifier = self._waiting.popleft()
            flight = Flight(self._client, None if identifier == self._own_id else identifier)
            member = _Member(id=identifier, flight=flight, steps=self._steps(identifier, flight))
            self._members[flight] = member
            yield from self._go_on(member)

    def _wake(self) -> Iterator[Delivery | Activate]:
        """Let those go on whose time is up; those that have caught up come first."""
        now = self._clock.monotonic()
        ready = [each for each in self._members.values() if each.wakes_at <= now]
        for member in sorted(ready, key=lambda each: (not each.caught_up, each.wakes_at)):
            yield from self._go_on(member)

    def _until_next(self) -> float:
        now = self._clock.monotonic()
        moments = [each.wakes_at for each in self._members.values()]
        if self._follows and self._caught_up:
            moments.append(self._looks_at)
        moments.append(self._due_at)
        return min(max(0.0, min(moments) - now), _LOOK_AGAIN_SECONDS)

    def _take(self, seconds: float) -> Iterator[Delivery | Activate]:
        """Take an answer, if one comes in time, and let the account go on that it is for."""
        try:
            answer = self._client.take(seconds)
        except TapError as error:
            request = error.request
            member = self._members.get(request.flight) if isinstance(request, Request) else None
            if member is None or isinstance(error, KeyRefusedError):
                raise
            self._fail(member, error)
            return
        if answer is None:
            return
        if self._crowded and (first := self._crowded.popleft()).flight in self._members:
            yield from self._go_on(first)  # in turns, lest one account take every place that becomes free
        if (member := self._members.get(answer.request.flight)) is not None:
            self._silences = 0
            yield from self._go_on(member, member.flight.receive(answer))

    def _go_on(self, member: _Member, taken: Taken = None) -> Iterator[Delivery | Activate]:
        """Let an account go on to its next pause."""
        _speaker.account = member.id
        try:
            item = advance(member.steps, taken)
            while item is not None and not isinstance(item, Pause):
                yield from self._pass_on(member, item)
                item = advance(member.steps)
        except KeyRefusedError:
            raise
        except TapError as error:
            self._fail(member, error)
            return
        finally:
            _speaker.account = ""
        if item is None:
            del self._members[member.flight]
            self._done += member.caught_up
            return
        member.wakes_at = self._clock.monotonic() + item.seconds
        if item.crowded and member not in self._crowded:
            self._crowded.append(member)

    def _pass_on(
        self, member: _Member, item: Delivery | Activate | Checkpoint | CaughtUp
    ) -> Iterator[Delivery | Activate]:
        """Pass on what an account brings; its own checkpoints wait until every account pauses."""
        match item:
            case CaughtUp():
                member.caught_up = True
                _logger.info("Caught up: %d records", member.records)
            case Checkpoint():
                self._due_at = min(self._due_at, self._checked_at + self._least_seconds(idle=item.idle))
            case Delivery():
                self._note(member, item)
                yield item
            case Activate():
                yield replace(item, account=member.id)

    def _note(self, member: _Member, item: Delivery) -> None:
        """Say in records whose they are; that of an account itself may be news."""
        for change in item.changes:
            change.record[ACCOUNT_ID] = member.id
        self._counted[item.stream] += len(item.changes)
        member.records += len(item.changes)
        if item.stream == "account" and member.id == self._own_id and self._wanted.ids is None:
            self._join([each.record["id"] for each in item.changes if not each.record.get(DELETED_AT)])

    def _fail(self, member: _Member, error: TapError) -> None:
        """Give an account up for now.

        Raises:
            RetriesSpentError: Stripe answers nothing for any account.
        """
        self._members.pop(member.flight, None)
        self._silences += isinstance(error, RetriesSpentError)
        if self._silences >= _MOST_SILENCES:
            raise error
        self._failed[member.id] = error
        _speaker.account = ""
        _logger.error("%s: %s", member.id, error)

    def _settle(self) -> Iterator[Checkpoint | Delivery | Activate]:
        now = self._clock.monotonic()
        if now >= self._due_at:
            self._due_at = math.inf
            self._checked_at = now
            yield Checkpoint()
        if self._follows and self._caught_up and now >= self._looks_at:
            for account in [*self._failed, *self._refused]:
                self._joined.discard(account)
            self._failed.clear()
            self._refused.clear()
            yield from self._look()
        if now - self._told_at >= _PROGRESS_SECONDS * (6 if self._caught_up else 1):
            self.tell("Following" if self._caught_up else "Reading")

    def _least_seconds(self, *, idle: bool) -> float:
        """Return how far a STATE is from the one before it at least."""
        return max(_STATE_SECONDS + _STATE_SECONDS_EACH * len(self._joined), IDLE_STATE_SECONDS if idle else 0.0)

    # Which accounts

    def _look(self) -> Iterator[Delivery | Activate]:
        """Find out which accounts there are, and begin with those that are not read yet."""
        self._looks_at = self._clock.monotonic() + _LOOK_AGAIN_SECONDS
        own = [self._own_id] if self._wanted.own and self._own_id is not None else []
        read = [*own, *(self._connected() if self._wanted.ids is None else self._wanted.ids)]
        self._join(read)
        self._leave({*self._bookmarks.ids()} - {*read})
        yield from self._begin()

    def _connected(self) -> list[str]:
        """Return the accounts that are connected to the key's own.

        Raises:
            AccountsUnknownError: The key may not know them.
        """
        found: list[str] = []
        after: dict[str, str] = {}
        more = True
        while more:
            answer = self._client.get(
                Request(path=_ACCOUNTS, endpoint=_ACCOUNTS, parameters={"limit": 100, **after}, reason="accounts")
            )
            if answer.verdict is Verdict.NOT_SET_UP:
                return []  # the key's own is no platform
            if answer.verdict is not Verdict.TAKE:
                why = answer.refusal.message if answer.refusal is not None else answer.verdict.name
                raise AccountsUnknownError(what="the connected accounts", path=_ACCOUNTS, why=why)
            elements, more = list_elements(answer, self._client.api_url)
            found += [each["id"] for each in elements]
            after = {"starting_after": found[-1]} if found else {}
            more = more and bool(elements)
        return [each for each in found if each != self._own_id]

    def _join(self, accounts: Collection[str]) -> None:
        for each in accounts:
            if each not in self._joined:
                self._joined.add(each)
                self._waiting.append(each)
                for stream in self._streams & names_by_stream().keys():  # so that it is waited for from now on
                    kept_by = STRIPE_OBJECTS[names_by_stream()[stream]].kept_by
                    self._bookmarks.of(each).kept_by(stream, kept_by.value)

    def _leave(self, accounts: Collection[str]) -> None:
        """Read accounts no longer that are not among those wanted; their rows stay, and nobody waits for more."""
        for account in accounts:
            self._bookmarks.of(account).select(())
            self._joined.discard(account)
        self._members = {flight: each for flight, each in self._members.items() if each.id not in accounts}

    # One account

    def _steps(self, account: str, flight: Flight) -> Steps:
        """Read an account, if the key has access to it."""
        bookmarks = self._bookmarks.of(account)
        if account != self._own_id:
            answer = yield from _asked(flight, Request(path=_ACCOUNT, endpoint=_ACCOUNT, reason="accounts"))
            if answer.refusal is not None and answer.refusal.code == _NO_ACCESS:
                self._deny(account, bookmarks, answer.refusal)
                yield Checkpoint()
                return
        bookmarks.reopen()
        share = self._requests_per_second * _POLL_SHARE
        yield from self._make_run(bookmarks, flight, len(self._joined) / share).steps

    def _deny(self, account: str, bookmarks: Bookmarks, refusal: Refusal) -> None:
        """Note that the key has no access to an account: all its streams are refused."""
        self._refused.add(account)
        reason = refusal.message.rstrip(".")
        bookmarks.close(self._streams, reason, self._client.stripe_clock.second())
        _logger.warning("Not read: Stripe says: %s.", reason)


class _Question:
    """Asks for one thing."""

    def __init__(self, request: Request) -> None:
        self._queue = RequestQueue([request])
        self.answer: Answer | None = None

    @property
    def queues(self) -> tuple[RequestQueue, ...]:
        return (self._queue,)

    def take(self, answer: Answer) -> Iterator[None]:
        self.answer = answer
        return iter(())


def _asked(flight: Flight, request: Request) -> Generator[Pause, Taken, Answer]:
    """Ask for one thing, and return the answer."""
    question = _Question(request)
    while question.answer is None:
        wait = flight.submit([question])
        yield Pause(seconds=wait, crowded=flight.crowded)
    return question.answer
