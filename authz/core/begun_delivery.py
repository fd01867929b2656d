"""BegunDelivery: a delivery of a new secret that has begun, as the store remembers it."""

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from authz.core.errors import Unreadable
from authz.core.keys.seed import Seed
from authz.core.records import MAX_LIVE_SECRETS, KeyRecord

HELD_MS: Final = 30 * 86_400_000
UNDECIDED_MS: Final = 86_400_000
_MAX_NUMBER: Final = 2**53  # greater ones are garbled
_TRIAL_OF_EARLIER_BUILD: Final = "first"  # of an earlier build: perhaps one process has tried


class DeliveryState(StrEnum):
    """The state of a delivery that has begun."""

    PENDING = "pending"  # `authz admin` goes on with it
    UNDECIDED = "undecided"  # unknown for 24 hours whether it arrived: a person decides
    OVER = "over"  # somebody ended one of the two secrets


class Claim(StrEnum):
    """Which processes have tried a delivery. The store has it, so all of them agree."""

    NONE = "none"  # no process has tried it
    CLAIMED = "claimed"  # one process makes the first try, or ended during it
    SHARED = "shared"  # perhaps several: a refusal proves nothing
    REFUSED = "refused"  # the target refused it at the first try: it is rolled back


@dataclass(frozen=True, slots=True)
class BegunDelivery:
    """A delivery that has begun. began_at: ms since the epoch. newest: number of a secret.

    newest: of the key before its rotation. actor, note: of the changes. is_leaked: the old secret
    is known to strangers, so it ends in any case. is_told: of a leaked one, an event says that the
    delivery is undecided. stored: its text in the store, "" if it was not read from there.
    """

    target: str
    overlap_ms: int
    began_at: int
    newest: int
    seed: Seed
    actor: str
    note: str
    is_leaked: bool = False
    claim: Claim = Claim.NONE
    is_told: bool = False
    stored: str = field(default="", compare=False, repr=False)

    @property
    def held_ms(self) -> int:
        """How long the old secret works at most before the new one has arrived.

        A leaked one: the overlap and the 24 hours in which the new secret is delivered.
        """
        if self.is_leaked:
            return self.overlap_ms + UNDECIDED_MS
        return max(HELD_MS, self.overlap_ms)

    @property
    def secret(self) -> str:
        """The number of the new secret."""
        return str(self.newest + 1)

    @property
    def is_to_roll_back(self) -> bool:
        """Whether the rotation is to be undone. Never that of a leaked secret.

        An earlier build could store a refusal for one.
        """
        return self.claim is Claim.REFUSED and not self.is_leaked

    def text(self) -> str:
        """Return the delivery as JSON."""
        found = {
            "target": self.target,
            "overlap_ms": self.overlap_ms,
            "began_at": self.began_at,
            "newest": self.newest,
            "seed": self.seed.random.hex(),
            "pepper": self.seed.pepper_version,
            "actor": self.actor,
            "note": self.note,
        }
        leaked = {"leaked": True} if self.is_leaked else {}
        told = {"told": True} if self.is_told else {}
        return json.dumps(found | leaked | {"trial": self.claim} | told)

    @classmethod
    def read(cls, text: str) -> "BegunDelivery":
        """Return the delivery from the text that `text` made. Raises Unreadable.

        The text of an earlier build does not say whether somebody has tried: it counts as shared.
        """
        try:
            found = json.loads(text)
            seed = Seed(bytes.fromhex(found["seed"]), str(found["pepper"]))
            overlap_ms, began_at = _number(found["overlap_ms"]), _number(found["began_at"])
            texts = (str(found["actor"]), str(found["note"]))
            newest = _number(found["newest"])
            trial = found.get("trial", _TRIAL_OF_EARLIER_BUILD)
            claim = Claim.SHARED if trial == _TRIAL_OF_EARLIER_BUILD else Claim(trial)
            return cls(
                *(str(found["target"]), overlap_ms, began_at, newest, seed, *texts),
                is_leaked=found.get("leaked") is True,
                claim=claim,
                is_told=found.get("told") is True,
                stored=text,
            )
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            raise Unreadable("the entry of a delivery in the store is garbled") from None

    def is_held(self, record: KeyRecord, now: int) -> bool:
        """Return whether both secrets of the rotation work. now: ms since the epoch."""
        live = [one for one in record.secrets if one.is_live(now)]
        return len(live) == MAX_LIVE_SECRETS and live[-1].id == self.secret

    def state(self, record: KeyRecord, now: int) -> DeliveryState:
        """Return the state of the delivery, by the record of its key. now: ms since the epoch."""
        new = next((one for one in record.secrets if one.id == self.secret), None)
        if new is None:
            is_rotated = int(record.last.id) > self.newest
            return DeliveryState.OVER if is_rotated else DeliveryState.PENDING
        if record.newest_secret is not new or not new.is_live(now):
            return DeliveryState.OVER
        if now < new.created_at + UNDECIDED_MS:
            return DeliveryState.PENDING
        if self.is_held(record, now):
            return DeliveryState.UNDECIDED
        ends = [one.retires_at for one in record.secrets if one.retires_at is not None]
        end, held = max(ends, default=0), new.created_at + self.held_ms
        # That of a person may be later: `hold` took the end away meanwhile.
        is_ended = end < held if self.is_leaked else end != held
        return DeliveryState.OVER if is_ended else DeliveryState.UNDECIDED


def _number(found: float | str) -> int:
    number = int(found)
    if not 0 <= number <= _MAX_NUMBER:
        raise ValueError("the number is garbled")
    return number
