"""Strict messages: unknown fields and unknown enum values are refused and named.

Protobuf keeps them silently. For administration that is dangerous: a client of a newer version
could ask for a restriction that this version does not know.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, cast

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from authz.rpc.admin.api_error import invalid, invalid_fields

MAX_PROBLEMS: Final = 10


def parse(kind: type[Message], raw: bytes) -> Message:
    """Return the message. Raises ApiError INVALID_ARGUMENT for bytes that are none."""
    try:
        return kind.FromString(raw)
    except DecodeError:
        raise invalid("request", f"the bytes are no {kind.DESCRIPTOR.full_name}") from None


def refuse_unknown(message: Message) -> None:
    """Raise ApiError INVALID_ARGUMENT that names up to 10 unknown fields and enum values."""
    problems = []
    for problem in _problems(message, ""):
        problems.append(problem)
        if len(problems) == MAX_PROBLEMS:
            break
    if problems:
        raise invalid_fields(problems)


def _problems(message: Message, path: str) -> Iterator[tuple[str, str]]:
    """Yield path and problem of each unknown field and enum value, also of inner messages.

    path: of `message`, or empty. The parser bounds the depth to 100.
    """
    # There are no unknown fields in nearly every message. ListFields is needed in any case.
    for unknown in cast("Iterable[Any]", UnknownFieldSet(message)):
        yield path or "request", f"has the unknown field number {unknown.field_number}"
    for field, value in message.ListFields():
        name = f"{path}.{field.name}" if path else field.name
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            yield from _of_messages(field, value, name)
        elif field.type == FieldDescriptor.TYPE_ENUM:
            enum = cast("EnumDescriptor", field.enum_type)
            for number in value if field.is_repeated else (value,):
                if number not in enum.values_by_number:
                    yield name, f"{number} is no value of {enum.name}"


def _of_messages(field: FieldDescriptor, value: Any, name: str) -> Iterator[tuple[str, str]]:
    if not field.is_repeated:
        yield from _problems(value, name)
        return
    entry = cast("Descriptor", field.message_type)
    if entry.GetOptions().map_entry:
        if entry.fields_by_name["value"].type == FieldDescriptor.TYPE_MESSAGE:
            for key in value:
                yield from _problems(value[key], f"{name}[{key}]")
        return
    for at, item in enumerate(value):
        yield from _problems(item, f"{name}[{at}]")
