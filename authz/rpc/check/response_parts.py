"""The parts that every CheckResponse has."""

import itertools
import secrets
from collections.abc import Iterator
from typing import Final

from envoy.config.core.v3.base_pb2 import HeaderValueOption

from authz.core.decision import Decision
from authz.rpc.check.wire import STRING, field, metadata

LAST_DIGITS: Final = tuple(b"%02x" % number for number in range(16**2))


class ChargeIds:
    """The ids of responses: a random prefix of 16 digits and a serial number of 12.

    A response ends with `head`, dynamic metadata that is merged into that of its constant part,
    and the 12 digits that `next_serial` returns.
    """

    def __init__(self) -> None:
        self.prefix = secrets.token_hex(8).encode()
        self.head = metadata("charge_id", field(STRING, self.prefix + bytes(12)))[:-12]
        self.next_serial = serials().__next__


def serials() -> Iterator[bytes]:
    """Yield the serial numbers from 0 on, as 12 hexadecimal digits.

    A number is joined from two parts, because formatting it takes twice as long.
    """
    for high in itertools.count():
        first = b"%010x" % high
        for last in LAST_DIGITS:
            yield first + last


def header_option(name: str, value: str) -> HeaderValueOption:
    """Return a header that replaces every header of its name, or is added if there is none."""
    # Envoy 1.40 reads `append`, other versions read `append_action`. So both are set.
    option = HeaderValueOption()
    option.header.key = name
    option.header.value = value
    option.append.value = False
    option.append_action = HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    return option


def decision_metadata(reason: str, decision: Decision) -> dict[str, str | bool]:
    """Return the dynamic metadata of a decision. Empty and false members are left out."""
    members: dict[str, str | bool] = {"reason": reason, "stale": decision.stale}
    if key := decision.key:
        members |= {
            "key_id": key.kid,
            "client_id": key.client_id,
            "project_id": key.project_id,
            "tenant_id": key.tenant_id,
            "plan": key.plan,
        }
    return {name: value for name, value in members.items() if value}
