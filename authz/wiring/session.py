"""The parts of commands, over the store or over the admin API."""

from __future__ import annotations  # the types are for readers and checkers alone

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection

    from authz.core.keys.keyring import Keyring
    from authz.flows.applying import Applying
    from authz.flows.command_ports import (
        CreditReader,
        KeyExporter,
        KeyFinder,
        KeyImporter,
        KeyReader,
        LimitReader,
        ManyKeysEditor,
    )
    from authz.flows.due_keys import DueKeyFinder
    from authz.flows.key_history import KeyHistory
    from authz.flows.tokens.command_ports import KeyExchange, SigningKeys, TokenInspector
    from authz.flows.usage.command_ports import CallerEraser, UsageReports, UseReader
    from authz.flows.waiting_deliveries import WaitingDeliveryFinder


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
    def due(self) -> DueKeyFinder:
        """The finder of keys that are due for a new secret."""

    @property
    def deliveries(self) -> WaitingDeliveryFinder:
        """The finder of new secrets that have not arrived."""

    @property
    def usage(self) -> UseReader:
        """The latest use of keys, and their requests."""

    @property
    def credits(self) -> CreditReader:
        """The credits of keys."""

    @property
    def limits(self) -> LimitReader:
        """The use of limits."""


@dataclass(frozen=True, slots=True)
class FileSession:
    """The parts that a command about a file of keys may ask for."""

    applying: Applying
    exporter: KeyExporter


@dataclass(frozen=True, slots=True)
class UsageSession:
    """The parts that a command about usage may ask for."""

    reports: UsageReports
    eraser: CallerEraser


@dataclass(frozen=True, slots=True)
class TokenSession:
    """The parts that a command about tokens may ask for."""

    rotation: SigningKeys
    exchange: KeyExchange
    inspection: TokenInspector


@dataclass(frozen=True, slots=True)
class ImportSession:
    """The parts of an import. keyring: knows the shape of keys. plans: names of all plans."""

    importer: KeyImporter
    keyring: Keyring
    plans: Collection[str]
