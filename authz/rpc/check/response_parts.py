"""The parts that every CheckResponse has."""

import itertools
import secrets
from collections.abc import Callable

from envoy.config.core.v3.base_pb2 import HeaderValueOption

from authz.core.decision import Decision
from authz.core.partitions import Owned, Partitions
from authz.core.usage.completeness import PROCESS_DIGITS
from authz.rpc.check.usage import only_secret
from authz.rpc.check.wire import STRING, field, metadata


class ChargeIds:
    """The ids of responses: a random prefix of 16 and a serial number of 12 hexadecimal digits.

    `count()` takes the next serial number, from 1 on. A process has one object for its whole life,
    so its serial numbers have no gap, and usage that never reached the meter is noticed. `head` is
    the serialised metadata `charge_id` without its last 12 digits, which follow it in a response.
    prefix: None makes a random one. They are those of one partition; see PartitionedChargeIds.
    """

    def __init__(self, prefix: bytes | None = None) -> None:
        self.prefix = prefix or secrets.token_hex(8).encode()
        self.head = metadata("charge_id", field(STRING, self.prefix + bytes(12)))[:-12]
        self._counter = itertools.count(1)
        self.count: Callable[[], int] = self._counter.__next__

    @property
    def issued(self) -> int:
        """The number of ids that were given out."""
        # Only its text tells the state of a counter. A number of our own would cost every Check.
        return int(repr(self._counter).removeprefix("count(").removesuffix(")")) - 1

    @property
    def parts(self) -> "tuple[ChargeIds, ...]":
        """The ids of each partition."""
        return (self,)

    def of(self, _key: Owned | None) -> "ChargeIds":
        """Return the ids of responses about a key, or about none."""
        return self

    def uncounted(self) -> "ChargeIds":
        """Return ids with the same prefix whose serial number is always 0.

        They are not among the issued ones, neither here nor there.
        """
        found = ChargeIds(self.prefix)
        found.count = int
        return found


class PartitionedChargeIds:
    """The ids of responses where the store has several partitions: those of each have no gap.

    The usage of a key and its charge ids are counted in one partition. So usage that never reached
    a partition is noticed there. Requests without a key have the ids of partition 0. The prefixes
    of a process differ in the last two digits, which are the partition.
    """

    def __init__(self, partitions: Partitions) -> None:
        start = secrets.token_hex(PROCESS_DIGITS // 2)
        prefixes = (f"{start}{partition:02x}" for partition in range(partitions.count))
        self.parts = tuple(ChargeIds(prefix.encode()) for prefix in prefixes)
        self._home_of = partitions.home_of

    def of(self, key: Owned | None) -> ChargeIds:
        """Return the ids of responses about a key, or about none."""
        return self.parts[0 if key is None else self._home_of(key)]

    def uncounted(self) -> ChargeIds:
        """Return ids that are not counted, as ChargeIds.uncounted."""
        return self.parts[0].uncounted()


def charge_ids(partitions: Partitions) -> "AnyChargeIds":
    """Return the charge ids of a process."""
    return ChargeIds() if partitions.count == 1 else PartitionedChargeIds(partitions)


AnyChargeIds = ChargeIds | PartitionedChargeIds


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
            "env": key.env,
            "secret_id": only_secret(key),
        }
    return {name: value for name, value in members.items() if value}
