from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AppliedKey(_message.Message):
    __slots__ = ("name", "version", "ref", "fields")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REF_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    ref: str
    fields: _struct_pb2.Struct
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., ref: _Optional[str] = ..., fields: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class ExportAppliedKeysRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ExportAppliedKeysResponse(_message.Message):
    __slots__ = ("applied_key",)
    APPLIED_KEY_FIELD_NUMBER: _ClassVar[int]
    applied_key: AppliedKey
    def __init__(self, applied_key: _Optional[_Union[AppliedKey, _Mapping]] = ...) -> None: ...

class SaveAppliedKeysRequest(_message.Message):
    __slots__ = ("applied_keys", "validate_only")
    APPLIED_KEYS_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    applied_keys: _containers.RepeatedCompositeFieldContainer[AppliedKey]
    validate_only: bool
    def __init__(self, applied_keys: _Optional[_Iterable[_Union[AppliedKey, _Mapping]]] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class SaveAppliedKeysResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
