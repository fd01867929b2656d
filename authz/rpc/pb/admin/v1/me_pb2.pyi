import datetime

from authz.rpc.pb.admin.v1 import key_pb2 as _key_pb2
from authz.rpc.pb.admin.v1 import limits_pb2 as _limits_pb2
from authz.rpc.pb.admin.v1 import usage_pb2 as _usage_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetMyKeyRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetMyKeyResponse(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: _key_pb2.Key
    def __init__(self, key: _Optional[_Union[_key_pb2.Key, _Mapping]] = ...) -> None: ...

class GetMyLimitsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetMyLimitsResponse(_message.Message):
    __slots__ = ("limits",)
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    limits: _limits_pb2.KeyLimits
    def __init__(self, limits: _Optional[_Union[_limits_pb2.KeyLimits, _Mapping]] = ...) -> None: ...

class GetMyUsageRequest(_message.Message):
    __slots__ = ("since_time", "until_time", "group_by")
    SINCE_TIME_FIELD_NUMBER: _ClassVar[int]
    UNTIL_TIME_FIELD_NUMBER: _ClassVar[int]
    GROUP_BY_FIELD_NUMBER: _ClassVar[int]
    since_time: _timestamp_pb2.Timestamp
    until_time: _timestamp_pb2.Timestamp
    group_by: _usage_pb2.UsageGroup
    def __init__(self, since_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., until_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., group_by: _Optional[_Union[_usage_pb2.UsageGroup, str]] = ...) -> None: ...

class GetMyUsageResponse(_message.Message):
    __slots__ = ("report", "latest_use")
    REPORT_FIELD_NUMBER: _ClassVar[int]
    LATEST_USE_FIELD_NUMBER: _ClassVar[int]
    report: _usage_pb2.UsageReport
    latest_use: _usage_pb2.LatestUse
    def __init__(self, report: _Optional[_Union[_usage_pb2.UsageReport, _Mapping]] = ..., latest_use: _Optional[_Union[_usage_pb2.LatestUse, _Mapping]] = ...) -> None: ...

class RotateMyKeyRequest(_message.Message):
    __slots__ = ("overlap", "request_id", "validate_only")
    OVERLAP_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    overlap: _duration_pb2.Duration
    request_id: str
    validate_only: bool
    def __init__(self, overlap: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class RotateMyKeyResponse(_message.Message):
    __slots__ = ("key", "api_key")
    KEY_FIELD_NUMBER: _ClassVar[int]
    API_KEY_FIELD_NUMBER: _ClassVar[int]
    key: _key_pb2.Key
    api_key: str
    def __init__(self, key: _Optional[_Union[_key_pb2.Key, _Mapping]] = ..., api_key: _Optional[str] = ...) -> None: ...

class RevokeMyKeyRequest(_message.Message):
    __slots__ = ("reason", "wait_time", "validate_only")
    REASON_FIELD_NUMBER: _ClassVar[int]
    WAIT_TIME_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    reason: _key_pb2.Key.RevocationReason
    wait_time: _duration_pb2.Duration
    validate_only: bool
    def __init__(self, reason: _Optional[_Union[_key_pb2.Key.RevocationReason, str]] = ..., wait_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class RevokeMyKeyResponse(_message.Message):
    __slots__ = ("key", "outcome")
    KEY_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    key: _key_pb2.Key
    outcome: _key_pb2.ChangeOutcome
    def __init__(self, key: _Optional[_Union[_key_pb2.Key, _Mapping]] = ..., outcome: _Optional[_Union[_key_pb2.ChangeOutcome, _Mapping]] = ...) -> None: ...
