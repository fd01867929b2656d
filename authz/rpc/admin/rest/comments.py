"""The comments of our .proto files, as plain text by the full name of what they are about."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import resources
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

_FILE: Final = ("admin", "v1", "descriptors.binpb")

# Numbers of the fields of google/protobuf/descriptor.proto, of which a path is made.
_OF_FILE: Final = {4: "message_type", 5: "enum_type", 6: "service"}
_OF_MESSAGE: Final = {2: "field", 3: "nested_type", 4: "enum_type", 8: "oneof_decl"}
_OF_ENUM: Final = {2: "value"}
_OF_SERVICE: Final = {2: "method"}
_NEXT: Final[Mapping[str, Mapping[int, str]]] = {
    "message_type": _OF_MESSAGE,
    "nested_type": _OF_MESSAGE,
    "enum_type": _OF_ENUM,
    "service": _OF_SERVICE,
}


@lru_cache(maxsize=1)
def comments() -> Mapping[str, str]:
    """Return every leading comment by the full name of its element.

    The lines of a paragraph are joined; a blank line separates paragraphs. The result is cached.
    """
    raw = resources.files("authz.rpc.pb").joinpath(*_FILE).read_bytes()
    files = FileDescriptorSet.FromString(raw).file
    return {name: text for file in files for name, text in _of_file(file)}


def _of_file(file: FileDescriptorProto) -> Iterable[tuple[str, str]]:
    for location in file.source_code_info.location:
        if location.leading_comments and location.path:
            name = _name(file, list(location.path))
            if name:
                yield name, _text(location.leading_comments)


def _name(file: FileDescriptorProto, path: list[int]) -> str:
    """Return the full name of the element at a path of SourceCodeInfo, or empty if it has none."""
    at: Any = file
    names = [file.package]
    kinds: Mapping[int, str] = _OF_FILE
    for number, index in zip(path[::2], path[1::2], strict=False):
        kind = kinds.get(number, "")
        if not kind:
            return ""
        at = getattr(at, kind)[index]
        names.append(at.name)
        kinds = _NEXT.get(kind, {})
    return ".".join(names) if len(path) % 2 == 0 else ""


def _text(comment: str) -> str:
    paragraphs = comment.strip("\n").split("\n\n")
    joined = (" ".join(line.strip() for line in part.splitlines()) for part in paragraphs)
    return "\n\n".join(part.strip() for part in joined if part.strip())
