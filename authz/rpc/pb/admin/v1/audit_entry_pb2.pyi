import datetime

from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AuditEntry(_message.Message):
    __slots__ = ("version", "base_version", "key", "change_time", "action", "actor", "note", "source", "request_id", "detail", "row")
    class Action(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ACTION_UNSPECIFIED: _ClassVar[AuditEntry.Action]
        ACTION_ISSUE: _ClassVar[AuditEntry.Action]
        ACTION_IMPORT: _ClassVar[AuditEntry.Action]
        ACTION_UPDATE: _ClassVar[AuditEntry.Action]
        ACTION_ROTATE: _ClassVar[AuditEntry.Action]
        ACTION_REVOKE: _ClassVar[AuditEntry.Action]
        ACTION_DISABLE: _ClassVar[AuditEntry.Action]
        ACTION_ENABLE: _ClassVar[AuditEntry.Action]
        ACTION_RESET_LIMITS: _ClassVar[AuditEntry.Action]
        ACTION_RETIRE: _ClassVar[AuditEntry.Action]
        ACTION_DELETE: _ClassVar[AuditEntry.Action]
        ACTION_ERASE_USAGE: _ClassVar[AuditEntry.Action]
        ACTION_LEAK: _ClassVar[AuditEntry.Action]
        ACTION_CANARY: _ClassVar[AuditEntry.Action]
        ACTION_ROTATE_SIGNING_KEY: _ClassVar[AuditEntry.Action]
        ACTION_REMOVE_SIGNING_KEY: _ClassVar[AuditEntry.Action]
        ACTION_ROLL_BACK: _ClassVar[AuditEntry.Action]
        ACTION_REFUND: _ClassVar[AuditEntry.Action]
        ACTION_BUDGET: _ClassVar[AuditEntry.Action]
        ACTION_CLEAR_BLOCKED_CLIENTS: _ClassVar[AuditEntry.Action]
        ACTION_ALLOW_NETWORK: _ClassVar[AuditEntry.Action]
        ACTION_FORBID_NETWORK: _ClassVar[AuditEntry.Action]
        ACTION_REPLAY_EVENTS: _ClassVar[AuditEntry.Action]
        ACTION_HOLD: _ClassVar[AuditEntry.Action]
    ACTION_UNSPECIFIED: AuditEntry.Action
    ACTION_ISSUE: AuditEntry.Action
    ACTION_IMPORT: AuditEntry.Action
    ACTION_UPDATE: AuditEntry.Action
    ACTION_ROTATE: AuditEntry.Action
    ACTION_REVOKE: AuditEntry.Action
    ACTION_DISABLE: AuditEntry.Action
    ACTION_ENABLE: AuditEntry.Action
    ACTION_RESET_LIMITS: AuditEntry.Action
    ACTION_RETIRE: AuditEntry.Action
    ACTION_DELETE: AuditEntry.Action
    ACTION_ERASE_USAGE: AuditEntry.Action
    ACTION_LEAK: AuditEntry.Action
    ACTION_CANARY: AuditEntry.Action
    ACTION_ROTATE_SIGNING_KEY: AuditEntry.Action
    ACTION_REMOVE_SIGNING_KEY: AuditEntry.Action
    ACTION_ROLL_BACK: AuditEntry.Action
    ACTION_REFUND: AuditEntry.Action
    ACTION_BUDGET: AuditEntry.Action
    ACTION_CLEAR_BLOCKED_CLIENTS: AuditEntry.Action
    ACTION_ALLOW_NETWORK: AuditEntry.Action
    ACTION_FORBID_NETWORK: AuditEntry.Action
    ACTION_REPLAY_EVENTS: AuditEntry.Action
    ACTION_HOLD: AuditEntry.Action
    VERSION_FIELD_NUMBER: _ClassVar[int]
    BASE_VERSION_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    CHANGE_TIME_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    ROW_FIELD_NUMBER: _ClassVar[int]
    version: int
    base_version: int
    key: str
    change_time: _timestamp_pb2.Timestamp
    action: AuditEntry.Action
    actor: str
    note: str
    source: str
    request_id: str
    detail: _struct_pb2.Struct
    row: str
    def __init__(self, version: _Optional[int] = ..., base_version: _Optional[int] = ..., key: _Optional[str] = ..., change_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., action: _Optional[_Union[AuditEntry.Action, str]] = ..., actor: _Optional[str] = ..., note: _Optional[str] = ..., source: _Optional[str] = ..., request_id: _Optional[str] = ..., detail: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., row: _Optional[str] = ...) -> None: ...
