"""Every error this package raises on purpose.

An error's message says the fact, the values and the next step. Values of records are never in a message: they may be
somebody's name, address or card. Passwords and keys are not either.
"""

from __future__ import annotations

from singer_sdk.exceptions import MissingKeyPropertiesError


class TargetError(Exception):
    """What a person can do something about: printed as one line, exit code 1."""


class SettingsError(TargetError):
    """A setting is missing, malformed or contradicts another."""


class DatabaseUnavailableError(TargetError):
    """The database cannot be reached, or was lost."""


class DatabaseRefusedError(TargetError):
    """A statement failed: what Postgres calls it and which object it is about, not which values."""

    def __init__(self, *, condition: str, about: str, message: str | None) -> None:
        super().__init__(
            f"Postgres refused a statement: {', '.join(filter(None, (condition, about, message)))}. "
            f"Check the rights of the database user and the objects named. "
            f"Nothing after the last STATE printed was stored."
        )


class RoleMissingError(TargetError):
    """The role that shall read does not exist."""

    def __init__(self, *, role: str) -> None:
        super().__init__(
            f"reader_role {role!r} does not exist in this database. Create it (CREATE ROLE ...) or unset reader_role."
        )


class InputMalformedError(TargetError):
    """A line that is not a Singer message."""

    def __init__(self, *, line: int, problem: str) -> None:
        super().__init__(f"Line {line} of the input is not a Singer message: {problem}. Check what the tap prints.")


class ForeignTableError(TargetError):
    """A table of that name exists and is not ours."""

    def __init__(self, *, schema: str, table: str, stream: str | None = None) -> None:
        wanted = f"stream {stream!r} needs" if stream else "this target keeps its books in"
        super().__init__(
            f"Table {schema}.{table} exists but was not created by this target, and {wanted} a table of that name. "
            f"Rename or drop it, or set default_target_schema to another schema."
        )


class TableNameTakenError(TargetError):
    """Two streams whose names become the same table name."""

    def __init__(self, *, table: str, stream: str, owner: str) -> None:
        super().__init__(
            f"Streams {owner!r} and {stream!r} would both be table {table!r}. "
            f"Give one another name with stream_maps: {{{stream!r}: {{'__alias__': 'other_name'}}}}."
        )


class ColumnConflictError(TargetError):
    """A column has a type that the stream's schema does not fit, and that does not widen to it."""

    def __init__(self, *, table: str, column: str, stored: str, wanted: str) -> None:
        super().__init__(
            f"Column {column!r} of table {table} is {stored}, but its stream's schema now says {wanted}. "
            f"Convert the column yourself (ALTER TABLE ... ALTER COLUMN ... TYPE {wanted} USING ...), "
            f"rename it so that a new one is added, or load into another default_target_schema."
        )


class KeyConflictError(TargetError):
    """The stream's key is not the table's primary key."""

    def __init__(self, *, table: str, stored: tuple[str, ...], wanted: tuple[str, ...]) -> None:
        switched = (*stored, *wanted).count("stripe_account_id") == 1
        super().__init__(
            f"Table {table} has the primary key ({', '.join(stored) or 'none'}), but its stream now has the key "
            f"({', '.join(wanted) or 'none'}). Rename or drop the table and load it again, "
            f"or load into another default_target_schema."
            + (" (Is the tap's setting connected_accounts another one than before?)" if switched else "")
        )


class RecordRefusedError(TargetError):
    """A record that cannot be stored.

    Attributes:
        segment: How many STATEs had been read before the record; what precedes that STATE can still be committed.
    """

    def __init__(self, *, stream: str, record: int, problem: str, segment: int) -> None:
        super().__init__(
            f"Record {record} of stream {stream!r} cannot be stored: {problem}. Nothing after the last STATE before it "
            f"was stored. Correct the record, or the schema the tap sends, and run again."
        )
        self.segment = segment


class MissingKeyError(RecordRefusedError, MissingKeyPropertiesError):
    """A record without a value for its stream's key."""

    def __init__(self, *, stream: str, record: int, columns: list[str], segment: int) -> None:
        names = ", ".join(repr(name) for name in columns)
        super().__init__(stream=stream, record=record, problem=f"its key {names} is missing or null", segment=segment)


class OtherAccountError(TargetError):
    """The STATE comes from another Stripe account than the rows."""

    def __init__(self, *, schema: str, stored: str, incoming: str) -> None:
        super().__init__(
            f"Schema {schema!r} holds Stripe account {stored}, but the tap reads account {incoming}. "
            f"Nothing was written. Use the key of {stored}, "
            f"or another database or default_target_schema for {incoming}."
        )


class OtherModeError(TargetError):
    """Live rows and test rows do not mix."""

    def __init__(self, *, schema: str, stored: bool, incoming: bool) -> None:
        mode = {True: "live", False: "test"}
        super().__init__(
            f"Schema {schema!r} holds {mode[stored]} mode rows, but the tap reads with a {mode[incoming]} mode key. "
            f"Nothing was written. Use a {mode[stored]} key, or another database or default_target_schema "
            f"for {mode[incoming]} mode."
        )


class NothingStoredError(TargetError):
    """There is nothing to compare with."""

    def __init__(self, *, schema: str) -> None:
        super().__init__(
            f"Schema {schema!r} holds nothing of this target, so nothing can be verified. Load first, or check "
            f"database_url and default_target_schema."
        )


class StateAheadError(TargetError):
    """The STATE promises rows that this database never got."""

    def __init__(self, *, schema: str, whose: str, field: str, stored: str | None, incoming: str) -> None:
        super().__init__(
            f"The tap's state is ahead of schema {schema!r}: {whose} says {field} = {incoming}, the database "
            f"recorded {stored or 'none'}. It was restored from a backup or is another database. Nothing was written. "
            f"Restore the newer database, or clear the state, so that everything is read again: "
            f"`meltano state list` shows its name, such as dev:tap-stripe-events-to-target-postgres-stripe, and "
            f"`meltano state clear NAME` clears it."
        )


class EmbeddedError(TargetError):
    """The embedded Postgres cannot be used."""
