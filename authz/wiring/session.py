"""BulkSession: the parts of the commands that find, show and change keys."""

from __future__ import annotations  # the types are for readers and checkers alone

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from authz.flows.command_ports import (
        CreditReader,
        KeyFinder,
        KeyReader,
        LimitReader,
        ManyKeysEditor,
        UseReader,
    )
    from authz.flows.key_history import KeyHistory


class BulkSession(Protocol):
    """The parts that a command about keys may ask for."""

    @property
    def finder(self) -> KeyFinder:
        """The finder of the keys that a selector picks."""

    @property
    def many(self) -> ManyKeysEditor:
        """The editor of many keys."""

    @property
    def keys(self) -> KeyReader:
        """The reader of one record."""

    @property
    def history(self) -> KeyHistory:
        """The changes of keys, from the audit trail."""

    @property
    def usage(self) -> UseReader:
        """The latest use of keys, and their requests."""

    @property
    def credits(self) -> CreditReader:
        """The credits of keys."""

    @property
    def limits(self) -> LimitReader:
        """The use of limits."""
