"""The SQLite file of a billing cursor: how it is made, opened by one process, and found damaged."""

import os
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from authz.core.errors import BadInput, Unavailable

MODE: Final = 0o640
OPTION: Final = "--cursor"
_DAMAGED: Final = "is damaged or no cursor; restore it from a copy, or remove it to begin anew"
_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_PRIMARY: Final = 0xFF  # the part of an error code that names its kind


@contextmanager
def opened(
    path: Path | None, tables: Sequence[str], *, is_rehearsal: bool
) -> Iterator[sqlite3.Connection]:
    """Yield a connection to the file, which is made with its tables if it is missing.

    path: None: a database that ends with the process. is_rehearsal: nothing is kept. Raises
    BadInput if the file is not usable, Unavailable if another process has it.
    """
    with faults(path):
        if path is not None and not path.exists():
            _make(path, tables)
        elif path is not None and not path.stat().st_size:
            raise ValueError("empty")
        connection = _connection(path)
    try:
        with faults(path):
            if path is None:
                _create(connection, tables)
            else:
                connection.execute("PRAGMA locking_mode = EXCLUSIVE")
                connection.execute("BEGIN EXCLUSIVE")
                connection.execute("COMMIT")
                if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                    raise ValueError("damaged")
            if is_rehearsal:
                connection.execute("BEGIN")
        yield connection
    finally:
        with suppress(sqlite3.Error):
            if is_rehearsal:
                connection.execute("ROLLBACK")
        connection.close()


def checksum(*values: Any) -> int:
    """Return the checksum of a row of numbers and text."""
    return zlib.crc32(repr(values).encode())


def verify(expected: int, *values: Any) -> None:
    """Raise ValueError unless the checksum of a row is the expected one."""
    if expected != checksum(*values):
        raise ValueError("altered")


@contextmanager
def faults(path: Path | None) -> Iterator[None]:
    """Raise faults of SQLite and of the file as BadInput or Unavailable, which name the file."""
    try:
        yield
    except sqlite3.OperationalError as cause:
        kind = cause.sqlite_errorcode & _PRIMARY
        if kind in _BUSY:
            raise Unavailable(f"{path}: another export uses this cursor now") from None
        if kind == sqlite3.SQLITE_ERROR:  # it lacks a table or a column
            raise BadInput(OPTION, f"{path} {_DAMAGED}") from None
        raise Unavailable(f"{path or 'the temporary directory'}: {cause}") from None
    except (sqlite3.DatabaseError, ValueError, TypeError):
        raise BadInput(OPTION, f"{path} {_DAMAGED}") from None
    except OSError as cause:
        raise BadInput(OPTION, f"{path}: {cause.strerror}") from None


def _make(path: Path, tables: Sequence[str]) -> None:
    """Make a file with its tables. Nobody sees it without them."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE))
    try:
        connection = _connection(draft)
        try:
            _create(connection, tables)
        finally:
            connection.close()
        with suppress(FileExistsError):  # another export has made it meanwhile
            os.link(draft, path)
    finally:
        draft.unlink()


def _create(connection: sqlite3.Connection, tables: Sequence[str]) -> None:
    connection.execute("BEGIN")
    for table in tables:
        connection.execute(table)
    connection.execute("COMMIT")


def _connection(path: Path | None) -> sqlite3.Connection:
    target = f"{path.absolute().as_uri()}?mode=rw" if path else ""
    connection = sqlite3.connect(target, timeout=0, isolation_level=None, uri=path is not None)
    connection.execute(f"PRAGMA synchronous = {'FULL' if path else 'OFF'}")
    return connection
