import datetime

from authz.rpc.pb.admin.v1 import key_pb2 as _key_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class KeyLimits(_message.Message):
    __slots__ = ("name", "read_time", "allowed", "limits", "on_outage", "lease_requests", "lease_time", "leases")
    class Lease(_message.Message):
        __slots__ = ("instance", "owner", "requests", "cost", "expire_time")
        INSTANCE_FIELD_NUMBER: _ClassVar[int]
        OWNER_FIELD_NUMBER: _ClassVar[int]
        REQUESTS_FIELD_NUMBER: _ClassVar[int]
        COST_FIELD_NUMBER: _ClassVar[int]
        EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
        instance: str
        owner: str
        requests: int
        cost: int
        expire_time: _timestamp_pb2.Timestamp
        def __init__(self, instance: _Optional[str] = ..., owner: _Optional[str] = ..., requests: _Optional[int] = ..., cost: _Optional[int] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    READ_TIME_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    ON_OUTAGE_FIELD_NUMBER: _ClassVar[int]
    LEASE_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    LEASE_TIME_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    name: str
    read_time: _timestamp_pb2.Timestamp
    allowed: bool
    limits: _containers.RepeatedCompositeFieldContainer[LimitUse]
    on_outage: _key_pb2.Key.OnOutage
    lease_requests: int
    lease_time: _duration_pb2.Duration
    leases: _containers.RepeatedCompositeFieldContainer[KeyLimits.Lease]
    def __init__(self, name: _Optional[str] = ..., read_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., allowed: _Optional[bool] = ..., limits: _Optional[_Iterable[_Union[LimitUse, _Mapping]]] = ..., on_outage: _Optional[_Union[_key_pb2.Key.OnOutage, str]] = ..., lease_requests: _Optional[int] = ..., lease_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., leases: _Optional[_Iterable[_Union[KeyLimits.Lease, _Mapping]]] = ...) -> None: ...

class LimitUse(_message.Message):
    __slots__ = ("limit", "owner", "used", "remaining", "leased", "reset_time", "spent")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    LEASED_FIELD_NUMBER: _ClassVar[int]
    RESET_TIME_FIELD_NUMBER: _ClassVar[int]
    SPENT_FIELD_NUMBER: _ClassVar[int]
    limit: _key_pb2.Limit
    owner: str
    used: int
    remaining: int
    leased: int
    reset_time: _timestamp_pb2.Timestamp
    spent: int
    def __init__(self, limit: _Optional[_Union[_key_pb2.Limit, _Mapping]] = ..., owner: _Optional[str] = ..., used: _Optional[int] = ..., remaining: _Optional[int] = ..., leased: _Optional[int] = ..., reset_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., spent: _Optional[int] = ...) -> None: ...

class GetKeyLimitsRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetKeyLimitsResponse(_message.Message):
    __slots__ = ("limits",)
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    limits: KeyLimits
    def __init__(self, limits: _Optional[_Union[KeyLimits, _Mapping]] = ...) -> None: ...

class ResetKeyLimitsRequest(_message.Message):
    __slots__ = ("name", "validate_only", "note", "wait_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    WAIT_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    validate_only: bool
    note: str
    wait_time: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., validate_only: _Optional[bool] = ..., note: _Optional[str] = ..., wait_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ResetKeyLimitsResponse(_message.Message):
    __slots__ = ("key", "outcome")
    KEY_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    key: _key_pb2.Key
    outcome: _key_pb2.ChangeOutcome
    def __init__(self, key: _Optional[_Union[_key_pb2.Key, _Mapping]] = ..., outcome: _Optional[_Union[_key_pb2.ChangeOutcome, _Mapping]] = ...) -> None: ...

class RefundKeyLimitsRequest(_message.Message):
    __slots__ = ("name", "budget", "etag", "validate_only", "note", "wait_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    WAIT_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    budget: str
    etag: str
    validate_only: bool
    note: str
    wait_time: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., budget: _Optional[str] = ..., etag: _Optional[str] = ..., validate_only: _Optional[bool] = ..., note: _Optional[str] = ..., wait_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RefundKeyLimitsResponse(_message.Message):
    __slots__ = ("key", "outcome")
    KEY_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    key: _key_pb2.Key
    outcome: _key_pb2.ChangeOutcome
    def __init__(self, key: _Optional[_Union[_key_pb2.Key, _Mapping]] = ..., outcome: _Optional[_Union[_key_pb2.ChangeOutcome, _Mapping]] = ...) -> None: ...
