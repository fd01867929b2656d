"""The log entries of Envoy: one line of text for each request, in the body of an OTLP log record.

Fields stand between single blanks; `-` stands for no value.

    4 charge_id key_id secret reason route client project tenant plan env charged model settle
      reserved ACCESS_LOG_TYPE RESPONSE_CODE GRPC_STATUS FLAGS DURATION_ms BYTES_RECEIVED BYTES_SENT
      ADDRESS START_ms tokens ATTEMPTS DETAILS METHOD ROUTE_NAME USER_AGENT

Version 3 has neither `model` to `reserved` nor `tokens`. Version 2 has
`2 charge_id key_id reason` before ACCESS_LOG_TYPE. LINE of line.py is the text for Envoy.

Rules:
1. The fields up to `reserved` come from the gate's dynamic metadata. A client cannot write them.
   They are checked all the same, as strictly as the fields of a record.
2. `tokens` comes from a filter that reads the response of a backend. It counts only if the gate has
   written terms of a settlement; see core/budgets/settlement.py. Budgets of bytes need none.
3. A client writes the user agent, and may influence the method. They stand after every field that
   counts, so blanks in them shift nothing. A route name of Envoy with a blank shifts only the user
   agent.
4. An entry with a field that is not valid is refused as a whole, with its cause. It is never
   attributed to a key.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from authz.core import fields
from authz.core.budgets.spending import is_model
from authz.core.budgets.terms import Terms, parse_terms
from authz.core.decision import Reason
from authz.core.errors import BadInput
from authz.core.limits.reserved import Taken, parse_reserved
from authz.core.usage.line import GATE_FIELDS, GATE_FIELDS_3
from authz.core.usage.outcome import Outcome, outcome, used_nothing

ENDED: Final = b"DownstreamEnd"
END: Final = b" %b " % ENDED
# The request still runs: its key is in use, and nothing is counted yet.
RUNNING: Final = frozenset(
    {b"DownstreamPeriodic", b"DownstreamStart", b"DownstreamTunnelSuccessfullyEstablished"}
)
OTHER_TYPES: Final = frozenset(
    {
        *(b"NotSet", b"TcpUpstreamConnected", b"TcpPeriodic", b"TcpConnectionEnd"),
        *(b"UpstreamPoolReady", b"UpstreamPeriodic", b"UpstreamEnd"),
        *(b"UdpTunnelUpstreamConnected", b"UdpPeriodic", b"UdpSessionEnd"),
    }
)
PROCESS_START, PROCESS_END, COUNT_END = 2, 18, 30
PROCESS: Final = slice(PROCESS_START, PROCESS_END)
COUNT: Final = slice(PROCESS_END, COUNT_END)
SPLIT_WORDS: Final = 9  # from RESPONSE_CODE to START_TIME, and the rest
VERSION_2, VERSION_3, VERSION_4 = b"234"
# Blanks in the rest before the user agent. The method is the second word before it.
AGENT: Final = {VERSION_2: 4, VERSION_3: 4, VERSION_4: 5}
TYPE_AT: Final = {  # words before ACCESS_LOG_TYPE
    VERSION_2: 4,
    VERSION_3: 1 + len(GATE_FIELDS_3),
    VERSION_4: 1 + len(GATE_FIELDS),
}
NO_VALUE: Final = "-"
UNKNOWN: Final = "- - - - -"  # the owners of a line that does not name them
LARGEST: Final = 2**53 - 1  # the largest integer that a number in Lua or JSON has exactly
MAX_IDENTITIES: Final = 20_000
MAX_STATUSES: Final = 4_000
ALLOWED: Final = frozenset({"ok", "anonymous"})
REASONS: Final = ALLOWED | {reason.value for reason in Reason}

OWNERS: Final = (
    ("client", fields.identifier),
    ("project", fields.identifier),
    ("tenant", fields.identifier),
    ("plan", fields.identifier),
    ("env", fields.environment),
)

_LABEL: Final = re.compile(r"[!-~]{1,128}", re.ASCII)
_SECRET: Final = re.compile(r"[0-9A-Za-z._-]{1,64}", re.ASCII)
_UNITS: Final = re.compile(r"[0-9]{1,15}", re.ASCII)
START: Final = re.compile(rb"[234] [0-9a-f]{28} ", re.ASCII)
"""The version and the charge id of a line."""
_NUMBER: Final = re.compile(rb"[0-9]{1,16}", re.ASCII)
_CODE: Final = re.compile(rb"[0-9]{1,3}", re.ASCII)
_FLAGS: Final = re.compile(rb"-|[A-Z]{2,8}(?:,[A-Z]{2,8}){0,15}", re.ASCII)


class Cause(StrEnum):
    """Causes for which an entry is refused or counted apart."""

    VERSION = "version"  # neither version 2, 3 nor 4
    CHARGE_ID = "charge_id"  # it has none, or not 28 digits
    IDENTITY = "identity"  # a field of the gate is not valid
    TYPE = "type"  # of another type than those of downstream requests
    FIELDS = "fields"  # too few fields, or a number that is none
    CLOCK = "clock"  # it ended too far from the time of the store


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Identity:
    """The fields that the gate writes. kid: "" if no key is proven. secret, route: "" without one.

    about: client, project, tenant, plan and environment of the key, with single blanks between,
    `-` for none. charged: the units that its limits paid. version: the first byte of the line.
    model: of the price table, or empty. terms: of the settlement, None if tokens do not matter.
    taken: from which budgets, and how much. settles: whether there are terms or budgets. once: the
    name of a request that takes from budgets once, however often it is repeated; empty for others.
    Instances are equal only if they are one object; an EntryReader gives one for equal fields.
    """

    version: int
    kid: str
    secret: str
    reason: str
    route: str
    about: str
    charged: int
    model: str = ""
    terms: Terms | None = None
    taken: tuple[Taken, ...] = ()
    settles: bool = False
    once: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Status:
    """The result of a request: its outcome, and the code for totals such as `200` or `200/8`.

    used_nothing: it cost the backend nothing, if the response does not report a use.
    """

    code: str
    outcome: Outcome
    used_nothing: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry, read. Times are milliseconds since the epoch.

    process, count: the charge id: its first 16 digits as text, and the others as a number.
    rest: from the word after START_ms to the user agent. is_end: False while the request runs.
    """

    process: str
    count: int
    identity: Identity
    status: Status
    started_at: int
    ended_at: int
    bytes_in: int
    bytes_out: int
    address: bytes
    rest: bytes
    is_end: bool


class EntryReader:
    """Reads entries. It remembers the parts that repeat, so that each is checked once.

    identities: the valid ones so far, by version and text. statuses: the same, by their texts.
    """

    def __init__(self) -> None:
        # Plain dicts, which the hot path of the tally reads fastest. A full one begins anew.
        self.identities: dict[int, dict[bytes, Identity]] = {each: {} for each in TYPE_AT}
        self.statuses: dict[tuple[bytes, bytes, bytes], Status] = {}

    def read(self, line: bytes) -> Entry | Cause:
        """Return the entry of a line without its end, or the cause of its refusal, never CLOCK."""
        if not START.match(line):
            return Cause.CHARGE_ID if line[:2] in {b"2 ", b"3 ", b"4 "} else Cause.VERSION
        type_at = TYPE_AT[line[0]]
        head = line.split(b" ", type_at + 1)
        if len(head) != type_at + 2:
            return Cause.FIELDS
        *gate, kind, tail = head
        if kind != ENDED and kind not in RUNNING:
            return Cause.TYPE if kind in OTHER_TYPES else Cause.IDENTITY
        identity = self.identity(line[0], b" ".join((b"", *gate[2:])))
        if identity is None:
            return Cause.IDENTITY
        words = tail.split(b" ", SPLIT_WORDS - 1)
        if len(words) != SPLIT_WORDS or words[-1].count(b" ") < AGENT[line[0]]:
            return Cause.FIELDS
        code, grpc, flags, *numbers, address, start, rest = words
        status = self.status((code, grpc, flags))
        numbers.append(start)
        if status is None or not all(map(_NUMBER.fullmatch, numbers)):
            return Cause.FIELDS
        duration, received, sent, started_at = map(int, numbers)
        if max(duration, received, sent, started_at) > LARGEST:
            return Cause.FIELDS
        return Entry(
            process=line[PROCESS].decode("ascii"),
            count=int(line[COUNT], 16),
            identity=identity,
            status=status,
            started_at=started_at,
            ended_at=started_at + duration,
            bytes_in=received,
            bytes_out=sent,
            address=address,
            rest=rest,
            is_end=kind == ENDED,
        )

    def identity(self, version: int, text: bytes) -> Identity | None:
        """Return the fields of the gate, or None if one is not valid. Remember valid ones.

        version: VERSION_2 to VERSION_4. text: the fields after the charge id, each after a blank.
        """
        known = self.identities[version]
        if text not in known:
            found = parse_identity(version, text)
            if found is None:
                return None
            if len(known) >= MAX_IDENTITIES:
                known.clear()
            known[text] = found
        return known[text]

    def status(self, text: tuple[bytes, bytes, bytes]) -> Status | None:
        """Return the status of code, gRPC status and flags, or None if one is not valid."""
        if text not in self.statuses:
            found = parse_status(*text)
            if found is None:
                return None
            if len(self.statuses) >= MAX_STATUSES:
                self.statuses.clear()
            self.statuses[text] = found
        return self.statuses[text]


def parse_identity(version: int, text: bytes) -> Identity | None:
    """Return the fields of the gate, or None if one is not valid. Arguments as of `identity`.

    A line of version 2 has no units: `charged` is 1 if a key was allowed, else 0.
    """
    try:
        words = ["" if word == NO_VALUE else word for word in text.decode("ascii").split(" ")[1:]]
        if version == VERSION_2:
            kid, reason = words
            # This version does not say what was charged. It is one unit, unless a route says else.
            charged = "1" if kid and reason in ALLOWED else ""
            words = [kid, "", reason, "", *[""] * len(OWNERS), charged]
        if version != VERSION_4:
            words += ["", "", ""]  # nothing to settle
        return _identity(version, words)
    except (ValueError, BadInput):  # UnicodeDecodeError is a ValueError; so is a wrong count
        return None


def _identity(version: int, words: list[str]) -> Identity:
    """Return the fields, "" for none. Raises ValueError or BadInput if one is not valid."""
    kid, secret, reason, route, *owners, charged, model, settle, reserved = words
    if kid:
        fields.kid("key_id", kid)
    for (name, check), value in zip(OWNERS, owners, strict=True):
        if value:
            check(name, value)
    is_sound = (
        reason in REASONS
        and (not secret or _SECRET.fullmatch(secret))
        and (not route or _LABEL.fullmatch(route))
        and (not charged or _UNITS.fullmatch(charged))
        and (not model or is_model(model))
    )
    if not is_sound:
        raise ValueError("a field is not in order")
    taken, once = parse_reserved(reserved)
    return Identity(
        version=version,
        kid=kid,
        secret=secret,
        reason=reason,
        route=route,
        about=" ".join(word or NO_VALUE for word in owners),
        charged=int(charged or 0),
        model=model,
        terms=parse_terms(settle) if settle else None,
        taken=taken,
        settles=bool(settle or reserved),
        once=once,
    )


def parse_status(code: bytes, grpc: bytes, flags: bytes) -> Status | None:
    """Return the status, or None if a field is not valid. `-`: no gRPC status, no flags."""
    if not (_CODE.fullmatch(code) and _FLAGS.fullmatch(flags)):
        return None
    if grpc != b"-" and not _CODE.fullmatch(grpc):
        return None
    words = frozenset() if flags == b"-" else frozenset(flags.decode("ascii").split(","))
    number = None if grpc == b"-" else int(grpc)
    name = str(int(code)) if number is None else f"{int(code)}/{number}"
    found = outcome(int(code), number, words)
    return Status(name, found, used_nothing(int(code), number, found, words))
