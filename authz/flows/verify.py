"""Verifier: what a Check would decide on a key, and what each of its checks says."""

from dataclasses import dataclass
from typing import Final

from authz.core import policy
from authz.core.decision import Allow, Decision, Deny, Reason
from authz.core.errors import Unreadable
from authz.core.keys import Keyring
from authz.core.ports import Clock, KeyStore, PepperProof
from authz.core.records import KeyRecord
from authz.core.request import Request

# In the order of a Check. What stands before the policy's own needs no record.
CHECKS: Final = ("shape", "checksum", "tag", "known", *policy.NAMES)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What would be decided. `said`: each check that was reached, with its refusal or None.

    All checks of the policy are reached once the record is known, though the first refusal wins.
    `record` is for the operator: a Deny before the secret is proven holds none.
    """

    decision: Decision
    said: dict[str, Reason | None]
    record: KeyRecord | None = None
    fault: str = ""


class Verifier:
    """Decides as a Checker does, on the store's own word, and explains it."""

    def __init__(
        self, store: KeyStore, keyring: Keyring, peppers: PepperProof, clock: Clock
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._peppers = peppers
        self._clock = clock

    async def verify(self, text: str, request: Request) -> Verdict:
        """Judge the key `text` in `request`. Raises Unavailable when the store cannot be asked."""
        said: dict[str, Reason | None] = {}
        presented = self._keyring.parse(text)
        if presented is None:
            reason = Reason.AMBIGUOUS_CREDENTIAL if "," in text else Reason.MALFORMED
            return _refused(said, "shape", reason)
        said["shape"] = None
        if not presented.is_whole():
            return _refused(said, "checksum", Reason.MALFORMED)
        said["checksum"] = None
        if not presented.is_genuine():
            proven = self._peppers.refutes(presented.pepper_version)
            return _refused(said, "tag", Reason.FORGED if proven else Reason.UNAVAILABLE)
        said["tag"] = None
        try:
            record = await self._store.find(presented.kid)
        except Unreadable as cause:
            return _refused(said, "known", Reason.UNAVAILABLE, str(cause))
        if record is None:
            return _refused(said, "known", Reason.UNKNOWN_KEY)
        said["known"] = None
        now = self._clock.wall_ms()
        said |= policy.examine(record, presented, request, now)
        refusal = policy.judge(record, presented, request, now)
        return Verdict(refusal or Allow(record), said, record)


def _refused(
    said: dict[str, Reason | None], check: str, reason: Reason, fault: str = ""
) -> Verdict:
    return Verdict(Deny(reason), {**said, check: reason}, fault=fault)
