"""JSON Schemas (2020-12) of messages, by protobuf's mapping to JSON (ProtoJSON)."""

from collections.abc import Mapping
from typing import Any, Final, cast

from google.api import field_behavior_pb2
from google.api.field_behavior_pb2 import FieldBehavior
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from authz.rpc.admin.rest.comments import comments

Schema = dict[str, Any]

_INT64: Final[Schema] = {"type": "string", "format": "int64", "pattern": r"^-?[0-9]{1,19}$"}
_INT32: Final[Schema] = {"type": "integer", "format": "int32"}
_SCALARS: Final[Mapping[int, Schema]] = {
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_INT32: _INT32,
    FieldDescriptor.TYPE_UINT32: {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    FieldDescriptor.TYPE_INT64: _INT64,
    FieldDescriptor.TYPE_UINT64: _INT64,
    FieldDescriptor.TYPE_DOUBLE: {"type": "number"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}
_WELL_KNOWN: Final[Mapping[str, Schema]] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]{1,12}(\.[0-9]{1,9})?s$"},
    "google.protobuf.FieldMask": {"type": "string"},
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.Value": {},
}


def behaviors(field: FieldDescriptor) -> set[int]:
    """Return the annotations google.api.field_behavior of a field: numbers of FieldBehavior."""
    return set(cast("Any", field.GetOptions()).Extensions[field_behavior_pb2.field_behavior])


def is_query_field(field: FieldDescriptor) -> bool:
    """Return whether the field can be a query parameter.

    True for a scalar, an enum, and a list of either, and for one message of _WELL_KNOWN.
    """
    kind = field.message_type
    return kind is None or (not field.is_repeated and kind.full_name in _WELL_KNOWN)


def schema_name(kind: Descriptor | EnumDescriptor) -> str:
    """Return the name of the schema: `Key.Status`, without the package."""
    return kind.full_name.removeprefix(f"{kind.file.package}.")


class Schemas:
    """Collects the schemas that a document refers to. found: each by its name; it grows."""

    def __init__(self) -> None:
        self.found: dict[str, Schema] = {}

    def reference(self, kind: Descriptor) -> Schema:
        """Return a reference to a message's schema, and collect it with all that it needs."""
        name = schema_name(kind)
        if name not in self.found:
            self.found[name] = {}  # for a message that contains itself
            self.found[name] = self._object(kind)
        return {"$ref": f"#/components/schemas/{name}"}

    def of_field(self, field: FieldDescriptor) -> Schema:
        """Return a new schema of a field, with its comment as the description.

        Collects the schemas that it refers to.
        """
        schema = dict(self._value(field))
        if field.is_repeated and not _is_map(field):
            schema = {"type": "array", "items": schema}
        text = comments().get(field.full_name, "")
        if text:
            schema["description"] = text
        kinds = behaviors(field)
        if FieldBehavior.OUTPUT_ONLY in kinds:
            schema["readOnly"] = True
        if FieldBehavior.INPUT_ONLY in kinds:
            schema["writeOnly"] = True
        return schema

    def _object(self, kind: Descriptor) -> Schema:
        schema: Schema = {
            "type": "object",
            "description": comments().get(kind.full_name, ""),
            "properties": {field.json_name: self.of_field(field) for field in kind.fields},
            "additionalProperties": False,
        }
        required = [
            field.json_name for field in kind.fields if FieldBehavior.REQUIRED in behaviors(field)
        ]
        if required:
            schema["required"] = required
        return schema

    def _value(self, field: FieldDescriptor) -> Schema:
        kind = field.message_type
        if kind is None:
            enum = field.enum_type
            return _SCALARS[field.type] if enum is None else self._enum(enum)
        if _is_map(field):
            value = kind.fields_by_name["value"]
            return {"type": "object", "additionalProperties": self._value(value)}
        return _WELL_KNOWN.get(kind.full_name) or self.reference(kind)

    def _enum(self, kind: EnumDescriptor) -> Schema:
        name = schema_name(kind)
        if name not in self.found:
            lines = (f"`{v.name}`: {comments().get(_value_name(v), '')}" for v in kind.values)
            self.found[name] = {
                "type": "string",
                "enum": [value.name for value in kind.values],
                "description": "\n".join([comments().get(kind.full_name, ""), "", *lines]),
            }
        return {"$ref": f"#/components/schemas/{name}"}


def _value_name(value: Any) -> str:
    return f"{value.type.full_name}.{value.name}"


def _is_map(field: FieldDescriptor) -> bool:
    kind = field.message_type
    return kind is not None and bool(kind.GetOptions().map_entry)
