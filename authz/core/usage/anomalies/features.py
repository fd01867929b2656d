"""The features of an hour that are judged, and the reasons that a judgement gives."""

from enum import StrEnum
from typing import NamedTuple


class Feature(StrEnum):
    """One kind of difference from the usual hours of a key."""

    RATE = "rate"  # more requests
    SILENCE = "silence"  # fewer requests
    NETWORKS = "networks"  # from more networks at a time, one of them new
    AGENTS = "agents"  # from more families of user agents at a time, one of them new
    DENIED = "denied"  # a larger share was refused by the gate
    ERRORS = "errors"  # a larger share failed


class Reason(NamedTuple):
    """A feature that is unusual in an hour.

    observed, expected: requests, networks, families, or shares from 0 to 1. strength: 1 at the
    bound of the alarm, more beyond it.
    """

    feature: Feature
    observed: float
    expected: float
    strength: float


class Gap(StrEnum):
    """Why a feature of an hour is not judged."""

    HISTORY = "no_history"  # the key is too new, or was away for long
    MANY = "many_callers"  # so many networks or families are usual that one more says nothing
    PRIVATE = "private_addresses"  # addresses of proxies, NAT and internal networks
    NO_FACTS = "no_addresses"  # the log has none, or they were erased
