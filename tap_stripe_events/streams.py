"""The seam to the SDK: one stream class for every Stripe object.

The SDK's way of writing a record (conform types, pop what is deselected, apply stream maps, flush) is used only where a
catalog or a stream map asks for it; else a record is written as it is.
"""

import logging
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from singer_sdk import Stream
from singer_sdk.helpers.types import Context, Record
from singer_sdk.mapper import RemoveRecordTransform, SameRecordTransform
from singer_sdk.singerlib import CatalogEntry, Metadata, MetadataMapping, Schema

from tap_stripe_events import changes
from tap_stripe_events.changes import AS_OF, CHILDREN, DELETED_AT
from tap_stripe_events.errors import TapError
from tap_stripe_events.families import names_by_stream, owned_child_types
from tap_stripe_events.listing import Activate
from tap_stripe_events.messages import AccountVersionMessage
from tap_stripe_events.objects import PREVIEWS, StripeObject
from tap_stripe_events.sync import Checkpoint, Delivery

if TYPE_CHECKING:
    from tap_stripe_events.tap import TapStripeEvents


class StripeStream(Stream):
    """The rows of one Stripe object type.

    Args:
        tap: The tap.
        stripe_object: The object type.
    """

    # STATE is written where the run says that it is true, never by counting records.
    STATE_MSG_FREQUENCY = sys.maxsize

    def __init__(self, tap: "TapStripeEvents", stripe_object: StripeObject) -> None:
        self._stripe_object = stripe_object
        super().__init__(
            tap,
            schema=changes.singer_schema(stripe_object.name, several=tap.several_accounts),
            name=stripe_object.stream,
        )
        self._stripe_tap = tap
        self._schema_written = False
        self._told = False
        self._plain: bool | None = None
        self.primary_keys = changes.stream_key(stripe_object.name, several=tap.several_accounts)
        # Full listings. What a listing did not see is announced by the run itself, when it is finished.
        self.forced_replication_method = "FULL_TABLE"

    @property
    def metadata(self) -> MetadataMapping:
        """What a catalog may select: all but the properties that say what a record means."""
        metadata = super().metadata
        _select_always(metadata, self._stripe_object, self.primary_keys)
        return metadata

    @property
    def emit_activate_version_messages(self) -> bool:
        """Never at the beginning: a listing says what is gone when it is finished."""
        return False

    def log(self, message: str, *args: Any, level: int = logging.INFO, **kwargs: Any) -> None:
        """Log what the SDK says of one stream, quietly: all are read together, and the run tells how it goes."""
        quiet = level == logging.INFO or self._told  # a failure has a line of its own, and is seldom this stream's
        super().log(message, *args, level=logging.DEBUG if quiet else level, **kwargs)

    def log_sync_costs(self) -> None:
        """Say nothing: the run has told."""

    def get_records(self, context: Context | None) -> Iterable[Record]:  # noqa: ARG002
        """Yield this stream's records, and hand other streams theirs as they come: for a dry run of the SDK."""
        for item in self._pulled():
            if isinstance(item, Delivery) and item.stream == self.name:
                self._stream_version = item.version
                yield from (dict(each.record) for each in item.changes)
            else:
                self._stripe_tap.hand_over(item)

    def _sync_records(
        self, context: Context | None = None, *, write_messages: bool = True
    ) -> Generator[Record, Any, Any]:
        """Write what there is of all streams. The SDK, which would take each record through its hands, gets none."""
        if not write_messages:
            yield from super()._sync_records(context, write_messages=False)
            return
        for item in self._pulled():
            self._stripe_tap.hand_over(item)

    def _pulled(self) -> Iterator[Delivery | Activate | Checkpoint]:
        """Yield what the run brings until it has caught up."""
        tap = self._stripe_tap
        run = tap.run
        tap.write_schemas_once()
        try:
            yield from run.until_caught_up()
        except TapError:
            self._told = True
            tap.fail()
            raise
        finally:
            tap.message_writer.flush()
        tap.end_if_stopped()

    def deliver(self, delivery: Delivery) -> None:
        """Write records, if the stream is selected."""
        if not self.selected:
            return
        if self._is_plain():
            self._stripe_tap.message_writer.write_records(self.name, delivery.changes, delivery.version)
            return
        self._stream_version = delivery.version
        for change in delivery.changes:
            for message in self._generate_record_messages(dict(change.record)):
                self._stripe_tap.write_message(message)

    def activate(self, version: int, account: str | None) -> None:
        """Write that a listing is finished, if the stream is selected."""
        if not self.selected:
            return
        if account is None:
            self._write_activate_version_message(version)
            return
        for stream_map in self.stream_maps:
            if not isinstance(stream_map, RemoveRecordTransform):
                self._stripe_tap.write_message(
                    AccountVersionMessage(stream=stream_map.stream_alias, version=version, stripe_account_id=account)
                )

    def announce(self) -> None:
        """Write SCHEMA before anybody comes across a record, if the stream is selected."""
        if self.selected:
            self._write_schema_message()

    def _write_schema_message(self) -> None:
        """Write SCHEMA once."""
        if not self._schema_written:
            self._schema_written = True
            super()._write_schema_message()

    def _write_state_message(self) -> None:
        """Leave STATE to the run: the SDK would write it at moments that mean nothing here."""

    def _is_plain(self) -> bool:
        """Whether a record can be written as it is: all properties selected, no stream map, no flattening."""
        if self._plain is None:
            first = self.stream_maps[0] if len(self.stream_maps) == 1 else None
            unchanged = type(first) is SameRecordTransform and not first.flattening_enabled
            self._plain = unchanged and all(self.mask.values())
        return self._plain


def complete(entry: CatalogEntry, *, several: bool) -> None:
    """Bring a stream of a catalog that somebody made earlier, or by hand, up to what the tap sends now.

    Properties that it does not know are added (and so selected with their stream), the key is the tap's, and so are
    descriptions where the catalog has none.

    Args:
        entry: The stream in the catalog.
        several: Whether the stream has the rows of several accounts.
    """
    name = entry.tap_stream_id if entry.tap_stream_id in PREVIEWS else names_by_stream().get(entry.tap_stream_id)
    if name is None:
        return  # the SDK leaves out what it does not know
    known = changes.singer_schema(name, several=several)
    given = entry.schema.to_dict()
    properties = {
        column: {"description": text, **each}
        if (text := known["properties"].get(column, {}).get("description"))
        else each
        for column, each in given.get("properties", {}).items()
    }
    entry.schema = Schema.from_dict(
        {"description": known["description"], **given, "properties": {**known["properties"], **properties}}
    )
    stripe_object = changes.table_entry(name)
    entry.key_properties = changes.stream_key(name, several=several)
    _select_always(entry.metadata, stripe_object, entry.key_properties)


def _select_always(metadata: MetadataMapping, stripe_object: StripeObject, key: Sequence[str]) -> None:
    children = (CHILDREN,) if owned_child_types(stripe_object.name) else ()
    for each in (*key, AS_OF, DELETED_AT, *children):
        metadata["properties", each] = Metadata(inclusion=Metadata.InclusionType.AUTOMATIC)
