"""Log entries as Envoy writes them, for tests of usage."""

import itertools

from authz.core.usage.commit import Commit
from authz.core.usage.entry import EntryReader
from authz.core.usage.tally import Clocks, Tally

KID = "7Hk2mQ9xT4bVzR1c"
PROCESS = "00112233445566ff"
NOW = 1_800_000_030_000  # in ms: 30 s after a full minute
MINUTE = NOW // 60_000
NEAR = Clocks.near(NOW, 3_600_000, 300_000)

_count = itertools.count(1)


def line(
    *,
    version="3",
    charge_id="",
    kid=KID,
    secret="s1",  # noqa: S107  an id
    reason="ok",
    route="models",
    owners="acme-web search acme pro live",
    charged="1",
    kind="DownstreamEnd",
    code="200",
    grpc="-",
    flags="-",
    milliseconds="12",
    received="300",
    sent="4000",
    address="203.0.113.7",
    started=NOW - 12,
    agent="curl/8.5.0",
    route_name="all",
    model="-",
    settle="-",
    reserved="-",
    tokens="-",
) -> bytes:
    """Return one entry of version 2, 3 or 4. Each has a charge id of its own."""
    charge_id = charge_id or f"{PROCESS}{next(_count):012x}"
    gate = f"{kid} {secret} {reason} {route} {owners} {charged}"
    if version == "2":
        gate = f"{kid} {reason}"
    result = f"{kind} {code} {grpc} {flags} {milliseconds} {received} {sent} {address} {started}"
    if version == "4":
        gate = f"{gate} {model} {settle} {reserved}"
        result = f"{result} {tokens}"
    rest = f"1 via_upstream GET {route_name} {agent}"
    return f"{version} {charge_id} {gate} {result} {rest}".encode()


def of_model(model: str, tokens: str, **fields) -> bytes:
    """Return one entry of a request that asked for a model. tokens: as the filter writes them.

    A token of input costs 1 micro-dollar, one of output 2.
    """
    terms = "1,1,0,0,0;v1,1000000,2000000,500000,1000000,2000000,0"
    return line(**{"version": "4", "model": model, "settle": terms, "tokens": tokens} | fields)


def tallied(*lines: bytes) -> Tally:
    """Return the tally of these entries."""
    tally = Tally(EntryReader())
    tally.add(lines)
    return tally


def committed(*lines: bytes, clocks: Clocks = NEAR) -> Commit:
    """Return what these entries add."""
    return tallied(*lines).commit(clocks)
