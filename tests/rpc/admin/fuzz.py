"""Made-up calls of every method: `python -m tests.rpc.admin.fuzz --calls N --seed S`.

Messages are made from the descriptors: any field, odd values, unknown fields, cut-off bytes. No
answer may be UNKNOWN or INTERNAL, and the log may have no traceback.
"""

import argparse
import asyncio
import logging
import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from authz.core.roles import Role
from authz.rpc.admin.method_table import Method
from tests.support.real import Valkey
from tests.support.rpc.admin import AdminRig, admin_rig, admin_settings, exchange

TEXTS: Final = (
    *("", "acme", "a b", "keys/", "keys/0000000000000000", "live", "old", "*", "x" * 300),
    *("\x00", "\N{SNOWMAN}", "10/s", "10.0.0.0/8", "https://a.example.com", "6b1d7f2e-0001"),
    *("client_id = acme", 'display_name = "a*"', "a" * 3000, "1", '"2"', "GET", "/v1/x", "sk-" * 9),
)
NUMBERS: Final = (0, 1, -1, 7, 50, 1000, 2**31 - 1, -(2**31))
LARGE: Final = (2**63 - 1, -(2**63), 253_402_300_800)
DEPTH: Final = 4


def fill(message: Message, rng: random.Random, names: list[str], depth: int = 0) -> None:
    """Set some fields of a message: mostly a few, the names of keys mostly to good ones."""
    share = rng.choice((0.05, 0.2, 0.6))
    for field in message.DESCRIPTOR.fields:
        is_name = field.name in {"name", "parent", "key"} and depth < 2
        if rng.random() > (0.9 if is_name else share) or depth > DEPTH:
            continue
        count = rng.choice((0, 1, 2, 5)) if field.is_repeated else 1
        for _ in range(count):
            _set(message, field, rng, names, depth)


def _set(message: Message, field: Any, rng: random.Random, names: list[str], depth: int) -> None:
    kind: Descriptor | None = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        if kind.fields_by_name["value"].type == FieldDescriptor.TYPE_STRING:
            getattr(message, field.name)[rng.choice(TEXTS)] = rng.choice(TEXTS)
        return
    if kind is not None:
        inner = getattr(message, field.name)
        fill(inner.add() if field.is_repeated else inner, rng, names, depth + 1)
        return
    value = _scalar(field, rng, names)
    if field.is_repeated:
        getattr(message, field.name).append(value)
    else:
        setattr(message, field.name, value)


def _scalar(field: Any, rng: random.Random, names: list[str]) -> Any:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_BOOL:
            return rng.random() < 0.5
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return rng.randbytes(rng.choice((0, 1, 32, 300)))
        case FieldDescriptor.CPPTYPE_STRING:
            share = 0.9 if field.name in {"name", "parent", "key"} else 0.1
            return rng.choice(names) if rng.random() < share else rng.choice(TEXTS)
        case FieldDescriptor.CPPTYPE_ENUM:
            known = list(field.enum_type.values_by_number)
            return rng.choice([*known, *known, 99])
        case FieldDescriptor.CPPTYPE_DOUBLE:
            return rng.choice((0.0, -1.0, float("inf"), float("nan")))
        case FieldDescriptor.CPPTYPE_INT64 | FieldDescriptor.CPPTYPE_UINT64:
            return rng.choice((*NUMBERS, *LARGE))
    return rng.choice(NUMBERS)


def spoil(raw: bytes, rng: random.Random) -> bytes:
    """Cut the bytes off, change one, add an unknown field, or leave them alone."""
    choice = rng.random()
    if choice < 0.05:
        return raw[: rng.randrange(len(raw) + 1)]
    if choice < 0.1 and raw:
        at = rng.randrange(len(raw))
        return raw[:at] + bytes([rng.randrange(256)]) + raw[at + 1 :]
    if choice < 0.13:
        return raw + b"\xf8\x3f\x01"
    return raw


class Tracebacks(logging.Handler):
    """Keeps log records with a traceback."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record if it has a traceback."""
        if record.exc_info:
            self.found.append(self.format(record))


async def call(rig: AdminRig, method: Method, raws: list[bytes], metadata: Any) -> grpc.StatusCode:
    """Make one call and return its code. A stream of responses alone is read for 0.1 s at most."""
    options: Any = {"metadata": metadata, "timeout": 10}
    try:
        if method.is_unary:
            await rig.channel.unary_unary(method.path)(raws[0], **options)
        elif method.descriptor.client_streaming:
            await exchange(rig.blocking.stream_stream(method.path), raws, **options)
        else:
            options["timeout"] = 0.1
            async for _ in rig.channel.unary_stream(method.path)(raws[0], **options):
                pass
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def run(rig: AdminRig, calls: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Make calls and return how often each code came, and the problems."""
    rng, codes, problems = random.Random(seed), Counter[str](), list[str]()
    handler = Tracebacks()
    logging.getLogger().addHandler(handler)
    try:
        kids = [(await rig.issue(client_id="acme"))[0] for _ in range(5)]
        names = [
            f"keys/{kid}{tail}" for kid in kids for tail in ("", "/limits", "/usage", "/latestUse")
        ]
        names += ["eventSinks/siem", "signingKeys/qTE6TnOM0ab1Cd2E"]
        callers = [(await rig.issue([role.scope]))[1] for role in Role]
        for number in range(calls):
            method = rng.choice(list(rig.process.calls.methods.values()))
            streams = method.descriptor.client_streaming
            messages = [method.request() for _ in range(rng.choice((1, 3)) if streams else 1)]
            for message in messages:
                fill(message, rng, names)
            raws = [spoil(message.SerializeToString(), rng) for message in messages]
            metadata = (("authorization", f"Bearer {rng.choice(callers)}"),)
            code = await call(rig, method, raws, metadata)
            codes[code.name] += 1
            if code in {grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL}:
                problems.append(f"call {number}, {method.name}: {code.name}: {messages}")
    finally:
        logging.getLogger().removeHandler(handler)
    return codes, problems + handler.found


async def main() -> None:
    """Run against an own server, and print the codes and the problems."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with Valkey() as valkey, tempfile.TemporaryDirectory() as directory:
        settings = admin_settings(valkey, Path(directory), calls_per_second=100_000)
        async with admin_rig(settings) as rig:
            codes, problems = await run(rig, given.calls, given.seed)
    print(f"{given.calls} calls, seed {given.seed}: {dict(codes)}")
    print("\n".join(problems) or "no UNKNOWN, no INTERNAL, no traceback")
    raise SystemExit(bool(problems))


if __name__ == "__main__":
    asyncio.run(main())
