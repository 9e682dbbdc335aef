"""Postgres' errors as ours: which record, column or object they are about, and no values."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

import psycopg

from target_postgres_stripe.errors import (
    DatabaseRefusedError,
    DatabaseUnavailableError,
    RecordRefusedError,
    TargetError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from target_postgres_stripe.columns import TableShape
    from target_postgres_stripe.rows import Row, Sighting

LIMIT_ERRORS = (psycopg.errors.ProgramLimitExceeded, psycopg.errors.StatementTooComplex, psycopg.errors.TooManyColumns)
"""Something is too large or too deeply nested; to psycopg they are kin to a lost connection."""

VALUE_ERRORS = (psycopg.DataError, *LIMIT_ERRORS)
"""A value is malformed, too large or too deeply nested."""


@contextlib.contextmanager
def failures() -> Iterator[None]:
    """Turn Postgres' errors into ours, which name no values."""
    try:
        yield
    except TargetError:
        raise
    except LIMIT_ERRORS as error:
        raise refused_statement(error) from None
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise DatabaseUnavailableError(
            f"The connection to the database was lost or it cannot go on ({error.sqlstate or type(error).__name__}"
            f"{f': {error.diag.message_primary}' if error.diag.message_primary else ''}). "
            f"Nothing after the last STATE printed was stored. Run again once it is back."
        ) from None
    except psycopg.Error as error:
        raise refused_statement(error) from None


def refused_statement(error: psycopg.Error) -> DatabaseRefusedError:
    """Postgres' error as ours."""
    diag = error.diag
    objects = {
        "schema": diag.schema_name,
        "table": diag.table_name,
        "column": diag.column_name,
        "constraint": diag.constraint_name,
    }
    return DatabaseRefusedError(
        condition=f"{type(error).__name__} {error.sqlstate}",
        about=", ".join(f"{kind} {name}" for kind, name in objects.items() if name),
        message=None if may_quote(error) else diag.message_primary,
    )


def may_quote(error: psycopg.Error) -> bool:
    """Whether an error's message may hold values of a row: a data error's does, one of somebody's trigger may."""
    return isinstance(error, psycopg.DataError) or (error.sqlstate or "").startswith("P0")


def refused(
    error: psycopg.Error, shape: TableShape, rows: Sequence[Row | Sighting]
) -> RecordRefusedError | DatabaseRefusedError:
    """Which record and column a failed COPY is about; Postgres says ``COPY stage, line 3, column amount: "value"``."""
    # Not the words: they are in the server's language.
    found = re.search(r"COPY [^,]+, \S+ (\d+)(?:, \S+ (.*?))?(?::|$)", error.diag.context or "", re.DOTALL)
    if found is None:
        return refused_statement(error)
    row = rows[int(found[1]) - 1]
    named = [column for column in shape.columns if column.name == found[2]]
    problem = f"{type(error).__name__} ({error.sqlstate})"
    if named:
        problem += f" in field {named[0].property!r}, expected {named[0].type}"
    elif found[2]:
        problem += f" in field {found[2]!r}"
    return RecordRefusedError(stream=shape.stream, record=row.record, problem=problem, segment=row.segment)
