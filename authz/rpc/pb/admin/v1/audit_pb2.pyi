import datetime

from authz.rpc.pb.admin.v1 import audit_entry_pb2 as _audit_entry_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListAuditEntriesRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "key", "actor", "action", "since_time", "until_time")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    SINCE_TIME_FIELD_NUMBER: _ClassVar[int]
    UNTIL_TIME_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    key: str
    actor: str
    action: _audit_entry_pb2.AuditEntry.Action
    since_time: _timestamp_pb2.Timestamp
    until_time: _timestamp_pb2.Timestamp
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., key: _Optional[str] = ..., actor: _Optional[str] = ..., action: _Optional[_Union[_audit_entry_pb2.AuditEntry.Action, str]] = ..., since_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., until_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListAuditEntriesResponse(_message.Message):
    __slots__ = ("entries", "next_page_token")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[_audit_entry_pb2.AuditEntry]
    next_page_token: str
    def __init__(self, entries: _Optional[_Iterable[_Union[_audit_entry_pb2.AuditEntry, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class VerifyAuditTrailRequest(_message.Message):
    __slots__ = ("trimmed_before", "unmarked_until", "max_unsealed")
    TRIMMED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    UNMARKED_UNTIL_FIELD_NUMBER: _ClassVar[int]
    MAX_UNSEALED_FIELD_NUMBER: _ClassVar[int]
    trimmed_before: int
    unmarked_until: int
    max_unsealed: _duration_pb2.Duration
    def __init__(self, trimmed_before: _Optional[int] = ..., unmarked_until: _Optional[int] = ..., max_unsealed: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class VerifyAuditTrailResponse(_message.Message):
    __slots__ = ("intact", "rows", "checkpoints", "seal_time", "unsealed_rows", "unmarked_rows", "findings", "more_findings", "last_row", "seal_row", "unsealed_since_time", "unmarked_until")
    class Finding(_message.Message):
        __slots__ = ("problem", "row", "text")
        PROBLEM_FIELD_NUMBER: _ClassVar[int]
        ROW_FIELD_NUMBER: _ClassVar[int]
        TEXT_FIELD_NUMBER: _ClassVar[int]
        problem: str
        row: str
        text: str
        def __init__(self, problem: _Optional[str] = ..., row: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...
    INTACT_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    SEAL_TIME_FIELD_NUMBER: _ClassVar[int]
    UNSEALED_ROWS_FIELD_NUMBER: _ClassVar[int]
    UNMARKED_ROWS_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    MORE_FINDINGS_FIELD_NUMBER: _ClassVar[int]
    LAST_ROW_FIELD_NUMBER: _ClassVar[int]
    SEAL_ROW_FIELD_NUMBER: _ClassVar[int]
    UNSEALED_SINCE_TIME_FIELD_NUMBER: _ClassVar[int]
    UNMARKED_UNTIL_FIELD_NUMBER: _ClassVar[int]
    intact: bool
    rows: int
    checkpoints: int
    seal_time: _timestamp_pb2.Timestamp
    unsealed_rows: int
    unmarked_rows: int
    findings: _containers.RepeatedCompositeFieldContainer[VerifyAuditTrailResponse.Finding]
    more_findings: int
    last_row: str
    seal_row: str
    unsealed_since_time: _timestamp_pb2.Timestamp
    unmarked_until: int
    def __init__(self, intact: _Optional[bool] = ..., rows: _Optional[int] = ..., checkpoints: _Optional[int] = ..., seal_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., unsealed_rows: _Optional[int] = ..., unmarked_rows: _Optional[int] = ..., findings: _Optional[_Iterable[_Union[VerifyAuditTrailResponse.Finding, _Mapping]]] = ..., more_findings: _Optional[int] = ..., last_row: _Optional[str] = ..., seal_row: _Optional[str] = ..., unsealed_since_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., unmarked_until: _Optional[int] = ...) -> None: ...
