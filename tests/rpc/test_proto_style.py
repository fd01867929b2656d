"""The style of the admin API's messages, by buf's STANDARD rules and the Google AIPs."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2 as d

from authz.rpc import pb

SET = Path(pb.__file__).parent / "admin" / "v1" / "descriptors.binpb"
PACKAGE = "authz.admin.v1"
CAMEL = re.compile(r"([A-Z][a-z0-9]*)+")
SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
UPPER = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")
PLAIN_END = (".", "`")

Element = tuple[str, str, object, tuple[int, ...]]  # kind, full name, descriptor, path in its file


def load() -> d.FileDescriptorSet:
    """Return the shipped descriptor set."""
    return d.FileDescriptorSet.FromString(SET.read_bytes())


def messages(found, prefix: str, path: tuple[int, ...], number: int) -> Iterator[Element]:
    """Yield each message, field, oneof and enum of a list of messages."""
    for at, message in enumerate(found):
        if message.options.map_entry:
            continue
        here, name = (*path, number, at), f"{prefix}{message.name}"
        yield "message", name, message, here
        for index, field in enumerate(message.field):
            yield "field", f"{name}.{field.name}", field, (*here, 2, index)
        for index, oneof in enumerate(message.oneof_decl):
            if not oneof.name.startswith("_"):  # of an optional field
                yield "oneof", f"{name}.{oneof.name}", oneof, (*here, 8, index)
        yield from messages(message.nested_type, f"{name}.", here, 3)
        yield from enums(message.enum_type, f"{name}.", here, 4)


def enums(found, prefix: str, path: tuple[int, ...], number: int) -> Iterator[Element]:
    """Yield each enum and each of its values."""
    for at, enum in enumerate(found):
        here, name = (*path, number, at), f"{prefix}{enum.name}"
        yield "enum", name, enum, here
        for index, value in enumerate(enum.value):
            yield "value", f"{name}.{value.name}", value, (*here, 2, index)


def elements(file: d.FileDescriptorProto) -> Iterator[Element]:
    """Yield everything that a file declares."""
    yield from messages(file.message_type, "", (), 4)
    yield from enums(file.enum_type, "", (), 5)
    for at, service in enumerate(file.service):
        yield "service", service.name, service, (6, at)
        for index, method in enumerate(service.method):
            yield "method", f"{service.name}.{method.name}", method, (6, at, 2, index)


def problems(file: d.FileDescriptorProto) -> Iterator[str]:
    """Yield a line for each element that breaks the style."""
    if file.package != PACKAGE or not file.name.startswith(f"{PACKAGE.replace('.', '/')}/"):
        yield f"{file.name}: the folder is not the package"
    if file.syntax != "proto3":
        yield f"{file.name}: not proto3"
    comments = {tuple(at.path): at.leading_comments for at in file.source_code_info.location}
    for kind, name, element, path in elements(file):
        comment = comments.get(path, "").strip()
        if not comment:
            yield f"{name}: no comment"
        elif not comment.endswith(PLAIN_END):
            yield f"{name}: the comment does not end with a full stop"
        yield from (f"{name}: {problem}" for problem in CHECKS.get(kind, any_name)(name, element))


def any_name(name: str, element) -> Iterator[str]:
    """Messages, enums and services are in CamelCase."""
    if not CAMEL.fullmatch(element.name):
        yield "not CamelCase"


def field_name(name: str, field) -> Iterator[str]:
    """Fields are in lower_snake_case; times and lists are named as such (AIP-142, AIP-140)."""
    if not SNAKE.fullmatch(field.name):
        yield "not lower_snake_case"
    if field.type_name == ".google.protobuf.Timestamp" and not field.name.endswith("_time"):
        yield "a time does not end with _time"


def enum_values(name: str, enum) -> Iterator[str]:
    """Values begin with the name of their enum; 0 is unspecified (AIP-126)."""
    any_name(name, enum)
    prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name).upper() + "_"
    if enum.value[0].name != f"{prefix}UNSPECIFIED" or enum.value[0].number:
        yield "0 is not UNSPECIFIED"
    for value in enum.value:
        if not (UPPER.fullmatch(value.name) and value.name.startswith(prefix)):
            yield f"{value.name} does not begin with {prefix}"


def method_shape(name: str, method) -> Iterator[str]:
    """Request and response are named after the method; a unary one has its place in REST."""
    if not CAMEL.fullmatch(method.name):
        yield "not CamelCase"
    for kind, type_name in (("Request", method.input_type), ("Response", method.output_type)):
        if type_name != f".{PACKAGE}.{method.name}{kind}":
            yield f"{type_name} is not {method.name}{kind}"
    rule = method.options.Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern")
    if verb is None:
        if not method.client_streaming:
            yield "no google.api.http annotation"
        return
    if not getattr(rule, verb).startswith("/v1/"):
        yield "not under /v1/"
    reads = method.name.startswith(("Get", "List", "Export", "Watch", "WhoAmI"))
    if (verb == "get") is not reads:
        yield f"{verb} does not suit the name"
    if bool(rule.body) is not (verb in {"post", "patch", "put"}):
        yield "a body goes with post, patch and put"


CHECKS = {
    "field": field_name,
    "oneof": field_name,
    "enum": enum_values,
    "value": lambda *_: iter(()),
    "method": method_shape,
}
# A descriptor of a oneof has no type.
CHECKS["oneof"] = lambda _name, oneof: iter(
    () if SNAKE.fullmatch(oneof.name) else ("not lower_snake_case",)
)

OURS = [file for file in load().file if file.package == PACKAGE]


@pytest.mark.parametrize("file", OURS, ids=lambda file: file.name)
def test_the_style(file: d.FileDescriptorProto) -> None:
    """Every element has a comment and a name by the rules; every unary method has REST."""
    assert list(problems(file)) == []


def test_the_secret_of_a_key_has_few_places() -> None:
    """Text of a key is in the answers that make it, in requests that bring it, and nowhere else."""
    found = {
        (name, element.options.debug_redact)
        for file in OURS
        for kind, name, element, _ in elements(file)
        if kind == "field" and element.name == "api_key"
    }
    assert found == {
        (f"{message}.api_key", True)
        for message in (
            *("CreateKeyResponse", "RotateKeyResponse", "RotateMyKeyResponse"),
            *("ChangeKeysResponse", "VerifyKeyRequest", "ImportKeysRequest.Entry"),
            "IssueTokenRequest",
        )
    }


def test_a_token_is_redacted() -> None:
    """The text of a token is in the answer that makes it and in the request that brings it."""
    found = {
        (name, element.options.debug_redact)
        for file in OURS
        for kind, name, element, _ in elements(file)
        if kind == "field" and element.name in {"token", "access_token"}
    }
    assert found == {
        ("IssueTokenResponse.access_token", True),
        ("InspectTokenRequest.token", True),
    }


def spoiled(change) -> list[str]:
    """Return the problems of keys.proto after a change."""
    file = d.FileDescriptorProto()
    file.CopyFrom(next(file for file in OURS if file.name.endswith("/keys.proto")))
    change(file)
    return list(problems(file))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda f: setattr(f, "package", "authz.v1"), "the folder is not the package"),
        (lambda f: setattr(f.message_type[0].field[0], "name", "theKey"), "not lower_snake_case"),
        (lambda f: setattr(f.message_type[0], "name", "create_key"), "not CamelCase"),
        (lambda f: f.service[0].method[0].ClearField("options"), "no google.api.http annotation"),
        (lambda f: setattr(f.service[0].method[0], "name", "Make"), "is not MakeRequest"),
        (lambda f: f.ClearField("source_code_info"), "no comment"),
    ],
)
def test_the_check_finds_each_fault(change, problem: str) -> None:
    """A planted fault of each kind is reported."""
    assert any(problem in found for found in spoiled(change))
