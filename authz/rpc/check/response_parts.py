"""What every answer has, and how those that repeat are kept."""

import itertools
import secrets
from typing import Final, TypeVar

from envoy.config.core.v3.base_pb2 import HeaderValueOption

from authz.core.decision import Decision
from authz.flows.packed_records import MAX_IN_USE
from authz.rpc.check.wire import STRING, field, metadata

MAX_BASES: Final = MAX_IN_USE  # unpacked once more, a record is another object

_K = TypeVar("_K")
_V = TypeVar("_V")


class Charges:
    """The ids of answers: a prefix, which is random, and how many there were before.

    An answer holds `head`, dynamic_metadata to be merged into the base's, and 12 digits of
    `count`.
    """

    def __init__(self) -> None:
        self.prefix = secrets.token_hex(8).encode()
        self.head = metadata("charge_id", field(STRING, self.prefix + bytes(12)))[:-12]
        self.count = itertools.count(1).__next__


def option(name: str, value: str) -> HeaderValueOption:
    """A header that takes the place of whatever has its name."""
    # Envoy 1.40 reads `append`, other versions `append_action`: say it both ways.
    made = HeaderValueOption()
    made.header.key = name
    made.header.value = value
    made.append.value = False
    made.append_action = HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    return made


def facts(reason: str, decision: Decision) -> dict[str, str | bool]:
    """The dynamic metadata of a decision."""
    found: dict[str, str | bool] = {"reason": reason, "stale": decision.stale}
    if key := decision.key:
        found |= {
            "key_id": key.kid,
            "client_id": key.client_id,
            "project_id": key.project_id,
            "tenant_id": key.tenant_id,
            "plan": key.plan,
        }
    return {name: value for name, value in found.items() if value}


def keep(kept: dict[_K, _V], name: _K, made: _V) -> _V:
    """Keep a base; beyond MAX_BASES the one that was made longest ago goes."""
    kept.pop(name, None)
    if len(kept) >= MAX_BASES:
        del kept[next(iter(kept))]
    kept[name] = made
    return made
