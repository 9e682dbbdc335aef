"""The Singer state of the tap, and the only place that knows its keys.

    {"account": {"id": "acct_…", "livemode": false,
                 "known_by": {"charge": "ch_…"},           objects by which it is known again
                 "closed": "…"},                           why a platform's key has no access to it any more
     "written_at": "2026-11-24T08:20:00.123Z",             when this state was written; it only grows
     "polled_at": "2026-11-24T08:20:00Z",                  when the feed was last read
     "api_version": "2026-10-28.endive",                   the version that the rows are in
     "bookmarks": {"charge": {
         "backfill_started_at": "2026-11-24T08:00:00Z",    the first listing ever
         "backfill_finished_at": "2026-11-24T08:20:00Z",
         "kept_by": "events",                              what keeps the rows up to date, see `KeptBy`
         "selected": false,                                it was not selected in the last run
         "events_as_of": "2026-11-24T08:19:58Z",           all that Stripe announced up to then is in
         "listing_started_at": null,                       set while a listing is under way,
         "listing_from": null,                             with its start date
         "listing_because": "…",                           and the reason of it
         "losses_announced": true,                         which was a deletion that takes rows of this stream along
         "not_read": {"/v1/charges": "the key lacks …"},   the lists that Stripe refused it, or the last one
         "lacked": ["/v1/accounts"],                       what the one before had to go without, and this one may read
         "never_used": ["/v1/accounts"],                   lists that no listing had: products that are not in use
         "made_up_at": "2026-11-24T08:00:00Z",             the last listing that read what the one before had lacked
         "listing_due": "…",                               why it must be listed at the next opportunity
         "listed_at": "2026-11-24T08:00:00Z",              the start of the last listing that was finished,
         "listed_from": "2026-01-01T00:00:00Z",            with its start date, if it had one
         "round_started_at": "2026-11-24T08:00:00Z",       the round of previews under way, in which each has its turn
         "refreshed_at": "2026-11-24T08:19:00Z",           what was created up to then is in, without a listing
         "refresh_due": "created",                         events hint that there is more: see `Hint`
         "pending_from": "2026-11-20T08:00:00Z",           the oldest row that is still to change in silence
         "gap": {"from": "…", "to": "…"},                  a time whose events are lost, if no list makes up for it
         "used": true,                                     there was a row, where that decides what is asked for
         "open_windows": [{"list": "/v1/charges", "from": …, "to": …, "after": "ch_…", "after_created": …}],
         "denied": {"since": "…", "tried_at": "…", "reason": "…", "not_set_up": true}}}}

With `connected_accounts` the state holds such a state for each account, by its id, and the key's own account:

    {"account": {"id": "acct_…", "livemode": false}, "written_at": "…", "polled_at": "…",
     "accounts": {"acct_…": {"account": …, "polled_at": "…", "api_version": "…", "bookmarks": …}}}

A window is a stretch of `created`, half-open, or the whole list, with the parameters of its `pass` if it has any;
`after` is the last object of it that was delivered. Windows are kept with the stream that a list is named after,
whether or not that is selected.
Whether a listing goes on or begins anew is read from here, never inferred from anything else.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from tap_stripe_events.clock import iso, unix
from tap_stripe_events.errors import OtherAccountError, OtherKindOfStateError, OtherModeError


class Hint(StrEnum):
    """What events say about rows that have none of their own."""

    CREATED = "created"  # there are new ones
    PENDING = "pending"  # and some have changed that were still to change


@dataclass(frozen=True, kw_only=True)
class OpenWindow:
    """A stretch of a list that is not yet read to its end.

    Attributes:
        path: The list.
        parameters: The pass.
        start: The first second of `created` in it; None: no lower bound.
        end: The second after the last one; None: no upper bound.
        after: The id of the last object delivered.
        after_created: That object's `created`.
    """

    path: str
    parameters: dict[str, str]
    start: int | None = None
    end: int | None = None
    after: str | None = None
    after_created: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in the state."""
        return {
            "list": self.path,
            **({"pass": self.parameters} if self.parameters else {}),
            "from": None if self.start is None else iso(self.start),
            "to": None if self.end is None else iso(self.end),
            "after": self.after,
            "after_created": None if self.after_created is None else iso(self.after_created),
        }

    @classmethod
    def from_json(cls, window: dict[str, Any]) -> "OpenWindow":
        """Return what `to_json` wrote."""
        start, end, created = window.get("from"), window.get("to"), window.get("after_created")
        return cls(
            path=window["list"],
            parameters=dict(window.get("pass") or {}),
            start=None if start is None else unix(start),
            end=None if end is None else unix(end),
            after=window.get("after"),
            after_created=None if created is None else unix(created),
        )


class Bookmarks:
    """Reads and writes the state of one account, which is the one that the SDK holds or a part of it."""

    def __init__(self, state: dict[str, Any]) -> None:
        self._state = state
        self._changed = True

    def stamp(self, now: float) -> bool:
        """Say when the state is written, if there is anything new in it; return whether there is.

        Args:
            now: The machine's time.
        """
        if not self.take_changed():
            return False
        _date(self._state, now)
        return True

    def take_changed(self) -> bool:
        """Return whether there is anything new since the last time this was asked."""
        changed, self._changed = self._changed, False
        return changed

    def claim(self, account_id: str | None, *, livemode: bool) -> None:
        """Say whose state this is.

        Raises:
            OtherAccountError: It is another account's.
            OtherModeError: It is the other mode's.
        """
        stored = self._state.get("account") or {}
        if "livemode" in stored and stored["livemode"] != livemode:
            modes = {True: "live", False: "test"}
            raise OtherModeError(stored=modes[stored["livemode"]], current=modes[livemode])
        if stored.get("id") and account_id and stored["id"] != account_id:
            raise OtherAccountError(stored=stored["id"], current=account_id)
        self._state["account"] = {**stored, "id": account_id or stored.get("id"), "livemode": livemode}

    def remembered(self) -> dict[str, str]:
        """Return the objects by which the account is known again: their ids by stream."""
        return dict((self._state.get("account") or {}).get("known_by") or {})

    def remember(self, stream: str, identifier: str) -> None:
        """Note an object by which the account is known again."""
        self._changed = True
        self._state.setdefault("account", {}).setdefault("known_by", {})[stream] = identifier

    def forget(self, stream: str) -> None:
        """Note that such an object is gone."""
        self._changed = True
        self._state["account"]["known_by"].pop(stream, None)

    def changes_version(self, api_version: str) -> bool:
        """Note the API version that rows are in from now on; return whether they were in another one before."""
        before = self._state.get("api_version")
        if before != api_version:
            self._state["api_version"] = api_version
            self._changed = True
        return before not in {None, api_version}

    @property
    def account_id(self) -> str | None:
        """The account, if it is known."""
        identifier = self._state["account"]["id"]
        return identifier if isinstance(identifier, str) else None

    @property
    def livemode(self) -> bool:
        """Whether the account is read in live mode."""
        return bool(self._state["account"]["livemode"])

    def _stream(self, stream: str) -> dict[str, Any]:
        bookmark: dict[str, Any] = self._state.setdefault("bookmarks", {}).setdefault(stream, {})
        return bookmark

    def _change(self, stream: str) -> dict[str, Any]:
        self._changed = True
        return self._stream(stream)

    def select(self, streams: Collection[str]) -> None:
        """Note which streams are selected: what is not is not waited for any more."""
        for stream, bookmark in self._state.get("bookmarks", {}).items():
            if not bookmark or (stream in streams) is bookmark.get("selected", True):
                continue
            if stream in streams:
                del self._change(stream)["selected"]
            else:
                self._change(stream)["selected"] = False

    def listing_since(self, stream: str) -> int | None:
        """Return when the listing under way began, in Unix time; None if none is."""
        return self._moment(stream, "listing_started_at")

    def listings(self) -> dict[str, int]:
        """Return the streams with a listing under way, and when it began, in Unix time."""
        found = {stream: self.listing_since(stream) for stream in self._state.get("bookmarks", {})}
        return {stream: second for stream, second in found.items() if second is not None}

    def listing_floor(self, stream: str) -> int | None:
        """Return the start date of the listing under way, in Unix time; None: everything."""
        return self._moment(stream, "listing_from")

    def listed_at(self, stream: str) -> int | None:
        """Return when the last listing that was finished began, in Unix time; None if none was."""
        return self._moment(stream, "listed_at")

    def begin_listing(
        self,
        stream: str,
        second: int,
        floor: int | None = None,
        *,
        because: str = "",
        anew: bool = True,
        events_from: int | None = None,
    ) -> None:
        """Note that a listing of the stream begins, of what was created since `floor`.

        Args:
            stream: The stream.
            second: Now, on Stripe's clock.
            floor: The start date.
            because: Why.
            anew: It is a backfill: what was in before does not count.
            events_from: From when the feed is followed then; from now on by default.
        """
        bookmark = self._change(stream)
        if anew:
            bookmark["backfill_started_at"] = iso(second)
            bookmark["events_as_of"] = iso(second if events_from is None else events_from)
            bookmark["backfill_finished_at"] = None
            bookmark.pop("refreshed_at", None)
            bookmark.pop("pending_from", None)
        if bookmark.pop("listing_due", None) is not None:
            bookmark["losses_announced"] = True
        if because:
            bookmark["listing_because"] = because
        bookmark["listing_started_at"] = iso(second)
        bookmark["listing_from"] = None if floor is None else iso(floor)
        if not_read := bookmark.pop("not_read", None):
            bookmark["lacked"] = sorted({*bookmark.get("lacked", ()), *not_read})

    def abandon_listing(self, stream: str) -> None:
        """Note that the listing under way will not be finished: the next one begins anew, for the same reason."""
        bookmark = self._change(stream)
        if bookmark.get("losses_announced"):
            bookmark.setdefault("listing_due", bookmark.get("listing_because", ""))
        self._end_listing(stream)
        bookmark.pop("not_read", None)

    def _end_listing(self, stream: str) -> None:
        bookmark = self._change(stream)
        bookmark["listing_started_at"] = None
        for key in ("listing_from", "listing_because", "losses_announced"):
            bookmark.pop(key, None)

    def leave_out(self, stream: str, path: str, reason: str) -> None:
        """Note that the listing under way lacks what is in a list, since Stripe refuses that."""
        self._change(stream).setdefault("not_read", {})[path] = reason

    def not_read(self, stream: str) -> dict[str, str]:
        """Return the paths of the lists that the listing under way lacks, or the last one did, and why."""
        return dict(self._stream(stream).get("not_read") or {})

    def leave_unused(self, stream: str, path: str) -> bool:
        """Note that the listing under way goes without a list, since the account does not use the product.

        Returns:
            Whether it lacks nothing by that: no listing of the stream ever had that list.
        """
        never = self._stream(stream).get("never_used", ())
        if path not in never and self.listed_at(stream) is None:
            self._change(stream)["never_used"] = never = sorted({*never, path})
        return path in never

    def use_list(self, stream: str, path: str) -> None:
        """Note that the listing under way has a list; maybe one of a product that the account did not use before."""
        never = self._stream(stream).get("never_used", ())
        if path in never:
            bookmark = self._change(stream)
            bookmark["never_used"] = [each for each in never if each != path]
            bookmark["lacked"] = sorted({*bookmark.get("lacked", ()), path})

    def lacking(self, path: str) -> list[str]:
        """Return the streams whose last listing lacks what is in a list."""
        streams = self._state.get("bookmarks", {})
        return [each for each in streams if path in self.not_read(each) or path in streams[each].get("never_used", ())]

    def finish_listing(self, stream: str, second: int) -> None:
        """Note that the listing under way is finished.

        Args:
            stream: The stream.
            second: Now, on Stripe's clock.
        """
        bookmark = self._change(stream)
        bookmark["listed_at"] = bookmark["listing_started_at"]
        if {*bookmark.pop("lacked", ())} - {*bookmark.get("not_read", ())}:
            bookmark["made_up_at"] = bookmark["listed_at"]
        bookmark.pop("listed_from", None)
        if bookmark.get("listing_from") is not None:
            bookmark["listed_from"] = bookmark["listing_from"]
        self._end_listing(stream)
        if bookmark.get("backfill_finished_at") is None:
            bookmark["backfill_finished_at"] = iso(second)

    def backfilled(self, stream: str) -> bool:
        """Whether the stream was listed once since its last backfill began."""
        return self._stream(stream).get("backfill_finished_at") is not None

    def listed_from(self, stream: str) -> int | None:
        """Return the start date of the last listing that was finished, in Unix time; None: everything."""
        return self._moment(stream, "listed_from")

    def want_backfill(self, stream: str) -> None:
        """Note that the listing that the stream had is not all that is wanted of it."""
        self._change(stream)["backfill_finished_at"] = None

    def kept_by(self, stream: str, kept_by: str) -> None:
        """Note what keeps a stream's rows up to date."""
        if self._stream(stream).get("kept_by") != kept_by:
            self._change(stream)["kept_by"] = kept_by

    def events_as_of(self, stream: str) -> int | None:
        """Return up to when all that Stripe announced is in, in Unix time; None if the feed was never followed."""
        return self._moment(stream, "events_as_of")

    def follow_from(self, stream: str, second: int) -> None:
        """Note that the feed is followed for a stream from a second on."""
        self._change(stream)["events_as_of"] = iso(second)

    def note_gap(self, stream: str, second: int) -> None:
        """Note that what was announced until a second is lost to a stream, and that it is followed from there on."""
        bookmark = self._change(stream)
        bookmark["gap"] = {"from": bookmark["events_as_of"], "to": iso(second)}
        bookmark["events_as_of"] = iso(second)

    def move_events(self, streams: Iterable[str], second: int) -> None:
        """Note that all that Stripe announced up to a second is in."""
        for stream in streams:
            before = self.events_as_of(stream)
            if before is not None and before < second:
                self._change(stream)["events_as_of"] = iso(second)

    def delivered(self) -> None:
        """Note that rows wait for a STATE, although it says nothing else that is new."""
        self._changed = True

    def polled(self, now: float) -> None:
        """Note that the feed has just been read, at the machine's time."""
        self._changed = True
        self._state["polled_at"] = iso(int(now))

    def refreshed_at(self, stream: str) -> int | None:
        """Return up to when what was created is in although it was not listed, in Unix time."""
        return self._moment(stream, "refreshed_at")

    def refreshed(self, stream: str, second: int) -> None:
        """Note that what was created up to a second is in."""
        self._change(stream)["refreshed_at"] = iso(second)

    def begin_previews(self, stream: str, second: int, *, refreshed: int) -> None:
        """Note that all previews of a kind are computed anew.

        Args:
            stream: The stream.
            second: Now, on Stripe's clock.
            refreshed: The second from which each preview's turn is still to come.
        """
        bookmark = self._change(stream)
        bookmark["backfill_started_at"] = bookmark["events_as_of"] = bookmark["round_started_at"] = iso(second)
        bookmark["backfill_finished_at"] = None
        bookmark["refreshed_at"] = iso(refreshed)
        bookmark.pop("not_read", None)

    def round_since(self, stream: str) -> int | None:
        """Return when the round of previews under way began, in Unix time; None if none is."""
        return self._moment(stream, "round_started_at")

    def finish_round(self, stream: str, second: int) -> None:
        """Note that every preview had its turn, and that the next round begins, in a later second.

        Args:
            stream: The stream.
            second: Now, on Stripe's clock.
        """
        bookmark = self._change(stream)
        bookmark["listed_at"] = bookmark["round_started_at"]
        bookmark["round_started_at"] = iso(max(second, unix(bookmark["listed_at"]) + 1))
        bookmark.pop("not_read", None)
        if bookmark.get("backfill_finished_at") is None:
            bookmark["backfill_finished_at"] = iso(second)

    def listing_due(self, stream: str) -> str | None:
        """Return why the stream must be listed at the next opportunity; None if it need not."""
        found = self._stream(stream).get("listing_due")
        return found if isinstance(found, str) else None

    def make_listing_due(self, stream: str, because: str) -> None:
        """Note that the stream must be listed at the next opportunity."""
        self._change(stream)["listing_due"] = because

    def refresh_due(self, stream: str) -> Hint | None:
        """Return what events hint at; None if they do not."""
        found = self._stream(stream).get("refresh_due")
        return None if found is None else Hint(found)

    def set_refresh_due(self, stream: str, hint: Hint | None) -> None:
        """Note what events hint at."""
        if self.refresh_due(stream) is hint:
            return
        if hint is not None:
            self._change(stream)["refresh_due"] = hint.value
        else:
            del self._change(stream)["refresh_due"]

    def is_used(self, stream: str) -> bool:
        """Whether the stream has ever had a row; known only where `use` said so."""
        return bool(self._stream(stream).get("used"))

    def use(self, stream: str) -> None:
        """Note that the stream has had a row."""
        self._change(stream)["used"] = True

    def pending_from(self, stream: str) -> int | None:
        """Return when the oldest row was created that is still to change in silence, in Unix time."""
        return self._moment(stream, "pending_from")

    def set_pending_from(self, stream: str, second: int | None) -> None:
        """Replace that moment; None: there is no such row."""
        if second is not None:
            self._change(stream)["pending_from"] = iso(second)
        elif "pending_from" in self._stream(stream):
            del self._change(stream)["pending_from"]

    def _moment(self, stream: str, key: str) -> int | None:
        found = self._stream(stream).get(key)
        return None if found is None else unix(found)

    def windows(self, stream: str, path: str) -> tuple[OpenWindow, ...]:
        """Return the open windows of one of the stream's lists."""
        found = (OpenWindow.from_json(each) for each in self._stream(stream).get("open_windows", ()))
        return tuple(each for each in found if each.path == path)

    def set_windows(self, stream: str, path: str, windows: Iterable[OpenWindow]) -> None:
        """Replace the open windows of one of the stream's lists."""
        bookmark = self._change(stream)
        others = [each for each in bookmark.get("open_windows", ()) if each["list"] != path]
        bookmark["open_windows"] = others + [each.to_json() for each in windows]

    def deny(self, stream: str, reason: str, second: int, *, not_set_up: bool = False) -> None:
        """Note that Stripe refuses the stream. Its listing ends here, unfinished.

        Args:
            stream: The stream.
            reason: Stripe's reason.
            second: Now, on Stripe's clock.
            not_set_up: It does so because the account does not use the product.
        """
        bookmark = self._change(stream)
        since = (bookmark.get("denied") or {}).get("since") or iso(second)
        bookmark["denied"] = {"since": since, "tried_at": iso(second), "reason": reason}
        if not_set_up:
            bookmark["denied"]["not_set_up"] = True
        self._end_listing(stream)
        for key in ("not_read", "lacked"):
            bookmark.pop(key, None)

    def close(self, streams: Collection[str], reason: str, second: int) -> None:
        """Note that the key has no access to the account: all that is selected is refused.

        Args:
            streams: What is selected.
            reason: Stripe's reason.
            second: Now, on Stripe's clock.
        """
        self.select(streams)
        self._state["account"]["closed"] = reason
        for stream in streams:
            self.deny(stream, reason, second)

    def reopen(self) -> None:
        """Note that the key has access to the account, again if it had lost it: each stream goes on where it was."""
        reason = self._state["account"].pop("closed", None)
        for stream in self.streams_denied():
            if self.denied(stream) == reason:
                self.allow(stream)

    def allow(self, stream: str) -> None:
        """Note that Stripe lets the stream be read."""
        self._change(stream).pop("denied", None)

    def denied(self, stream: str) -> str | None:
        """Return why the stream is refused; None if it is not."""
        denied = self._stream(stream).get("denied")
        return denied["reason"] if denied else None

    def denied_tried_at(self, stream: str) -> int | None:
        """Return when it was last tried whether the stream is still refused, in Unix time."""
        tried = (self._stream(stream).get("denied") or {}).get("tried_at")
        return None if tried is None else unix(tried)

    def try_again(self, stream: str) -> None:
        """Have it tried at once whether a stream is still refused."""
        if (denied := self._change(stream).get("denied")) is not None:
            denied.pop("tried_at", None)

    def not_set_up(self, stream: str) -> bool:
        """Whether the stream is refused because the account does not use the product."""
        return bool((self._stream(stream).get("denied") or {}).get("not_set_up"))

    def streams_denied(self) -> frozenset[str]:
        """Return the streams that are refused."""
        return frozenset(stream for stream, each in self._state.get("bookmarks", {}).items() if each.get("denied"))


class AccountsBookmarks:
    """The state that the SDK holds, with connected accounts.

    Args:
        state: The state.
        livemode: Whether the accounts are read in live mode.
    """

    def __init__(self, state: dict[str, Any], *, livemode: bool) -> None:
        self._state = state
        self._livemode = livemode
        self._accounts: dict[str, Bookmarks] = {}
        self._changed = True

    def ids(self) -> list[str]:
        """Return the accounts that were ever read."""
        return [*self._state.get("accounts", {})]

    def of(self, account: str) -> Bookmarks:
        """Return an account's bookmarks."""
        if account not in self._accounts:
            own = self._state.setdefault("accounts", {}).setdefault(account, {})
            self._accounts[account] = Bookmarks(own)
            self._accounts[account].claim(account, livemode=self._livemode)
        return self._accounts[account]

    def stamp(self, now: float) -> bool:
        """Say when the state is written, if there is anything new in it; return whether there is.

        Args:
            now: The machine's time.
        """
        changed, self._changed = self._changed, False
        for each in self._accounts.values():
            changed |= each.take_changed()
        if changed:
            polled = [each["polled_at"] for each in self._state.get("accounts", {}).values() if "polled_at" in each]
            if polled:
                self._state["polled_at"] = max(polled)
            _date(self._state, now)
        return changed


def check_kind(state: dict[str, Any], *, several: bool) -> None:
    """Compare what a state was written with.

    Args:
        state: The state.
        several: Whether `connected_accounts` is on.

    Raises:
        OtherKindOfStateError: It was written with the other.
    """
    words = ("off", "on")
    if state.get("bookmarks" if several else "accounts"):
        raise OtherKindOfStateError(stored=words[not several], current=words[several])


def _date(state: dict[str, Any], now: float) -> None:
    """Say in a state when it is written. A clock that was set back does not set the state back."""
    milliseconds = int(now * 1000)
    if written := state.get("written_at"):
        milliseconds = max(milliseconds, round(datetime.fromisoformat(written).timestamp() * 1000) + 1)
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC).replace(microsecond=milliseconds % 1000 * 1000)
    state["written_at"] = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
