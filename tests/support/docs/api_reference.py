"""The reference of the admin API, from the comments of its messages."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from google.api import annotations_pb2, field_behavior_pb2
from google.protobuf import descriptor_pb2 as d

from authz.rpc import pb
from authz.rpc.admin.method_table import NEEDED

SET: Final = Path(pb.__file__).parent / "admin" / "v1" / "descriptors.binpb"
PACKAGE: Final = ".authz.admin.v1."
BEHAVIORS: Final = {
    field_behavior_pb2.REQUIRED: "required",
    field_behavior_pb2.OUTPUT_ONLY: "by the server",
    field_behavior_pb2.INPUT_ONLY: "in requests",
    field_behavior_pb2.IMMUTABLE: "never changes",
    field_behavior_pb2.IDENTIFIER: "the name",
}

Comments = Mapping[tuple[int, ...], str]


def methods() -> str:
    """Return one row for each method: its place in REST, the right that it needs, its meaning."""
    rows = ["| method | REST | right | meaning |", "| --- | --- | --- | --- |"]
    for file, comments in _files():
        for at, service in enumerate(file.service):
            for index, method in enumerate(service.method):
                rule = method.options.Extensions[annotations_pb2.http]
                verb = rule.WhichOneof("pattern")
                place = f"`{verb.upper()} {getattr(rule, verb)}`" if verb else "-"
                needed = NEEDED[f"{service.name}.{method.name}"]
                right = f"`{needed.value}`" if needed else "-"
                meaning = comments[6, at, 2, index].partition("\n\n")[0].replace("\n", " ")
                stream = " (stream)" if method.server_streaming else ""
                rows.append(
                    f"| `{service.name}.{method.name}`{stream} | {place} | {right} | {meaning} |"
                )
    return "\n".join(rows)


def api() -> str:
    """Return all services, messages and enums with their comments."""
    parts = []
    for file, comments in _files():
        for at, service in enumerate(file.service):
            parts.append(f"## {service.name}\n\n{comments[6, at]}")
            for index, method in enumerate(service.method):
                parts.append(f"### {service.name}.{method.name}\n\n{comments[6, at, 2, index]}")
                asked, answered = (_short(t) for t in (method.input_type, method.output_type))
                many = ["stream of " if streams else "" for streams in _streams(method)]
                parts.append(f"Request: {many[0]}`{asked}`. Response: {many[1]}`{answered}`.")
    for file, comments in _files():
        parts += [
            part
            for at, message in enumerate(file.message_type)
            for part in _message(message, "", comments, (4, at))
        ]
        parts += [_enum(e, "", comments, (5, at)) for at, e in enumerate(file.enum_type)]
    return "\n\n".join(parts)


def _files() -> Iterator[tuple[d.FileDescriptorProto, Comments]]:
    for file in d.FileDescriptorSet.FromString(SET.read_bytes()).file:
        if f".{file.package}." == PACKAGE:
            found = {
                tuple(at.path): "\n".join(
                    line.removeprefix(" ") for line in at.leading_comments.strip().split("\n")
                )
                for at in file.source_code_info.location
            }
            yield file, found


def _message(
    message: d.DescriptorProto, prefix: str, comments: Comments, path: tuple[int, ...]
) -> Iterator[str]:
    if message.options.map_entry:
        return
    name = f"{prefix}{message.name}"
    rows = [
        f"| `{field.name}` | {_kind(field, message)} | {_meaning(field, comments[*path, 2, at])} |"
        for at, field in enumerate(message.field)
    ]
    table = "\n".join(["\n\n| field | type | meaning |", "| --- | --- | --- |", *rows])
    yield f"## {name}\n\n{comments[path]}{table if rows else ''}"
    for at, nested in enumerate(message.nested_type):
        yield from _message(nested, f"{name}.", comments, (*path, 3, at))
    for at, enum in enumerate(message.enum_type):
        yield _enum(enum, f"{name}.", comments, (*path, 4, at))


def _enum(
    enum: d.EnumDescriptorProto, prefix: str, comments: Comments, path: tuple[int, ...]
) -> str:
    rows = [
        f"| `{value.name}` | {_line(comments[*path, 2, at])} |"
        for at, value in enumerate(enum.value)
    ]
    table = "\n".join(["| value | meaning |", "| --- | --- |", *rows])
    return f"## {prefix}{enum.name}\n\n{comments[path]}\n\n{table}"


def _meaning(field: d.FieldDescriptorProto, comment: str) -> str:
    behaviors = field.options.Extensions[field_behavior_pb2.field_behavior]
    words = [BEHAVIORS[behavior] for behavior in behaviors]
    behavior = f"({', '.join(words)}) " if words else ""
    return f"{behavior}{_line(comment)}"


def _kind(field: d.FieldDescriptorProto, message: d.DescriptorProto) -> str:
    if field.type_name:
        short = _short(field.type_name)
        entries = [e for e in message.nested_type if e.options.map_entry]
        if any(short.endswith(entry.name) for entry in entries):
            return "map of string to string"
        kind = f"`{short}`"
    else:
        kind = d.FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    is_list = field.label == d.FieldDescriptorProto.LABEL_REPEATED
    return f"list of {kind}" if is_list else kind


def _line(comment: str) -> str:
    return comment.replace("\n", " ").replace("|", "\\|")


def _short(name: str) -> str:
    return name.removeprefix(PACKAGE).removeprefix(".google.protobuf.")


def _streams(method: d.MethodDescriptorProto) -> tuple[bool, bool]:
    return method.client_streaming, method.server_streaming
