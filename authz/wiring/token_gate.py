"""Composition root of the gate for tokens, in sidecars and in verifications."""

from collections.abc import Mapping
from dataclasses import dataclass

from authz.core.decision import Reason
from authz.core.events import Event
from authz.core.keys.keyring import Keyring
from authz.core.ports import Clock, Probe
from authz.core.store_clock import StoreClock
from authz.core.tokens.rights import Expected
from authz.flows.tokens.gate import TokenGate
from authz.flows.tokens.ports import EntrySource
from authz.settings.model import Settings


@dataclass(frozen=True, slots=True)
class ReadEntries:
    """Entries of signing keys, as a command has read them."""

    signing: Mapping[str, str]
    is_current: bool = True


def token_gate(
    settings: Settings,
    ring: Keyring,
    source: EntrySource,
    clock: Clock,
    probe: Probe,
    *,
    store_clock: StoreClock | None = None,
) -> TokenGate | None:
    """Return the acceptance of tokens; None if the settings name no issuer.

    source: the entries of signing keys. store_clock: the clock of their store.
    """
    tokens = settings.tokens
    if not tokens.issuer:
        return None
    from authz.identity.es256 import verifier  # noqa: PLC0415  memory of sidecars without tokens

    return TokenGate(
        source,
        ring.signing_entries,
        verifier,
        tags=ring.token_tags,
        expected=Expected(tokens.issuer, tokens.accepted_audiences()),
        clock=clock,
        probe=probe,
        rate=tokens.signatures_per_second,
        max_entries=settings.cache.max_entries,
        store_clock=store_clock,
    )


class Uncounted:
    """A Probe that counts nothing."""

    def decided(self, reason: Reason | None) -> None:
        """Do nothing."""

    def reported(self, reason: Reason) -> None:
        """Do nothing."""

    def count(self, event: Event, times: int = 1) -> None:
        """Do nothing."""
