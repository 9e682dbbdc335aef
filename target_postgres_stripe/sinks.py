"""One stream's pending rows: the SDK's sink, as far as it goes.

A sink reads records into a batch and knows the table they go to. When it stores them is the target's business, since
rows of all streams go into one transaction.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from singer_sdk.sinks import BatchSink

from target_postgres_stripe.batch import Batch
from target_postgres_stripe.columns import Column, ColumnType, table_shape
from target_postgres_stripe.errors import MissingKeyError, RecordRefusedError
from target_postgres_stripe.rows import NullKeyError, Origin, RowReader, Sighting, UnknownFieldsError, WrongValueError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import msgspec

    from target_postgres_stripe.columns import TableShape
    from target_postgres_stripe.rows import Row


class PostgresSink(BatchSink):
    """The rows of one stream (of one schema of it) that wait to be stored.

    Attributes:
        shape: The stream as a table.
        batch: The rows.
        expects_the_same: Whether what a sweep brings is most likely as it is stored, and need not be read whole.
    """

    expects_the_same = False

    def __init__(
        self, target: Any, stream_name: str, schema: dict[str, Any], key_properties: Sequence[str] | None
    ) -> None:
        super().__init__(target, stream_name, schema, key_properties)
        self.shape = table_shape(
            stream_name, self.original_schema, key_properties, metadata=self.include_sdc_metadata_properties
        )
        self.batch = Batch()
        # Rows are read by the thread that adds them, sightings of which more is wanted by the one that stores them.
        self._adapting = threading.Lock()
        self._reader = RowReader(self.shape)
        self._records = 0
        self._replaced = 0

    @property
    def include_sdc_metadata_properties(self) -> bool:
        """Whether the SDK's metadata columns are wanted; here they are unless switched off."""
        return bool(self.config.get("add_record_metadata", True))

    def get_validator(self) -> None:
        """No JSON Schema validation: decoding into the columns' types is the validation."""
        return

    def add(
        self, record: msgspec.Raw, *, version: int | None, extracted_at: str | None, segment: int, replaced: int = 0
    ) -> int:
        """Read one record into the batch.

        Args:
            record: Its JSON.
            version: The message's ``version``.
            extracted_at: The message's ``time_extracted``.
            segment: How many STATEs were read before it.
            replaced: How many of its characters Postgres could not have stored.

        Returns:
            The bytes it takes.

        Raises:
            MissingKeyError, RecordRefusedError: It cannot be stored.
        """
        self._records += 1
        if replaced:
            self._count_replaced(replaced)
        origin = Origin(
            number=self._records,
            segment=segment,
            version=version,
            extracted_at=extracted_at,
            sequence=time.time_ns() // 1_000_000,
        )
        sighting = self._reader.sight(record, origin) if self.expects_the_same else None
        row = self._read(record, origin) if sighting is None else sighting
        self.batch.add(row)
        return row.size

    def whole(self, rows: Sequence[Row | Sighting]) -> tuple[TableShape, list[Row]]:
        """Read the records of sightings; return the shape that the rows need, which may be a wider one, and the rows.

        Raises:
            MissingKeyError, RecordRefusedError: One cannot be stored.
        """
        read = [self._read(row.source, row.origin) if isinstance(row, Sighting) else row for row in rows]
        return self.shape, read

    def _read(self, record: msgspec.Raw, origin: Origin) -> Row:
        reader = self._reader
        try:
            return reader.read(record, origin)
        except UnknownFieldsError as unknown:
            self._ignore_unknown_fields(reader, unknown.names)
        except NullKeyError as wrong:
            raise MissingKeyError(
                stream=self.stream_name, record=origin.number, columns=[wrong.column], segment=origin.segment
            ) from None
        except WrongValueError as wrong:
            if not wrong.too_big:
                problem = f"field {wrong.column!r} is not {wrong.expected}"
                raise RecordRefusedError(
                    stream=self.stream_name, record=origin.number, problem=problem, segment=origin.segment
                ) from None
            self._widen(reader, wrong.column)
        return self._read(record, origin)

    def _ignore_unknown_fields(self, reader: RowReader, names: Sequence[str]) -> None:
        with self._adapting:
            if reader.ignores_unknown_fields:
                return  # the other thread has just met some
            self.logger.warning(
                "Fields %s are not in the schema of stream '%s' and are left out (said once a stream).",
                ", ".join(names),
                self.stream_name,
            )
            reader.ignore_unknown_fields()

    def _widen(self, reader: RowReader, name: str) -> None:
        """Make the column of a property ``numeric``. Rows that were read before fit it too."""

        def widened(columns: tuple[Column, ...]) -> tuple[Column, ...]:
            return tuple(replace(c, type=ColumnType.NUMERIC) if c.property == name else c for c in columns)

        with self._adapting:
            if reader is not self._reader:
                return  # the other thread has just widened one
            self.logger.warning(
                "Field '%s' of stream '%s' exceeds bigint; its column becomes numeric.", name, self.stream_name
            )
            self.shape = replace(self.shape, key=widened(self.shape.key), columns=widened(self.shape.columns))
            self._reader = RowReader(self.shape)

    def _count_replaced(self, replaced: int) -> None:
        if not self._replaced:
            self.logger.warning(
                "Stream '%s' has characters that Postgres cannot store (U+0000, half surrogates, invalid UTF-8). "
                "Each becomes U+FFFD; their number is logged at the end.",
                self.stream_name,
            )
        self._replaced += replaced

    def process_batch(self, context: dict[str, Any]) -> None:
        """Store rows in the loader's open transaction.

        Args:
            context: ``loader`` and ``batch``, since what is stored now may be less than what is pending.
        """
        loader, batch = context["loader"], context["batch"]
        loader.stage(self.shape, batch, self.whole)
        if batch.rows:
            self.expects_the_same = loader.expects_the_same(self.shape)
        self.record_counter_metric.increment(batch.rows)

    def clean_up(self) -> None:
        """Log the stream's figures."""
        if self._replaced:
            self.logger.warning("Stream '%s': %d characters were replaced by U+FFFD.", self.stream_name, self._replaced)
        super().clean_up()
