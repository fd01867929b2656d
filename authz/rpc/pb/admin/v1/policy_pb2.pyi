import datetime

from authz.rpc.pb.admin.v1 import key_pb2 as _key_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RotationPolicy(_message.Message):
    __slots__ = ("plan", "rotate_every", "reminders")
    PLAN_FIELD_NUMBER: _ClassVar[int]
    ROTATE_EVERY_FIELD_NUMBER: _ClassVar[int]
    REMINDERS_FIELD_NUMBER: _ClassVar[int]
    plan: str
    rotate_every: _duration_pb2.Duration
    reminders: _containers.RepeatedCompositeFieldContainer[_duration_pb2.Duration]
    def __init__(self, plan: _Optional[str] = ..., rotate_every: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reminders: _Optional[_Iterable[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]]] = ...) -> None: ...

class ListRotationPoliciesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListRotationPoliciesResponse(_message.Message):
    __slots__ = ("rotation_policies",)
    ROTATION_POLICIES_FIELD_NUMBER: _ClassVar[int]
    rotation_policies: _containers.RepeatedCompositeFieldContainer[RotationPolicy]
    def __init__(self, rotation_policies: _Optional[_Iterable[_Union[RotationPolicy, _Mapping]]] = ...) -> None: ...

class ListDueKeysRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "within")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    WITHIN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    within: _duration_pb2.Duration
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., within: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ListDueKeysResponse(_message.Message):
    __slots__ = ("due_keys", "next_page_token")
    DUE_KEYS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    due_keys: _containers.RepeatedCompositeFieldContainer[DueKey]
    next_page_token: str
    def __init__(self, due_keys: _Optional[_Iterable[_Union[DueKey, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DueKey(_message.Message):
    __slots__ = ("key", "secret_id", "due_time", "overdue")
    KEY_FIELD_NUMBER: _ClassVar[int]
    SECRET_ID_FIELD_NUMBER: _ClassVar[int]
    DUE_TIME_FIELD_NUMBER: _ClassVar[int]
    OVERDUE_FIELD_NUMBER: _ClassVar[int]
    key: _key_pb2.Key
    secret_id: str
    due_time: _timestamp_pb2.Timestamp
    overdue: bool
    def __init__(self, key: _Optional[_Union[_key_pb2.Key, _Mapping]] = ..., secret_id: _Optional[str] = ..., due_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., overdue: _Optional[bool] = ...) -> None: ...

class ListPendingDeliveriesRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "key")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    key: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., key: _Optional[str] = ...) -> None: ...

class ListPendingDeliveriesResponse(_message.Message):
    __slots__ = ("pending_deliveries", "next_page_token")
    PENDING_DELIVERIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    pending_deliveries: _containers.RepeatedCompositeFieldContainer[PendingDelivery]
    next_page_token: str
    def __init__(self, pending_deliveries: _Optional[_Iterable[_Union[PendingDelivery, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class PendingDelivery(_message.Message):
    __slots__ = ("key", "secret_id", "target", "begin_time", "undecided")
    KEY_FIELD_NUMBER: _ClassVar[int]
    SECRET_ID_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    BEGIN_TIME_FIELD_NUMBER: _ClassVar[int]
    UNDECIDED_FIELD_NUMBER: _ClassVar[int]
    key: _key_pb2.Key
    secret_id: str
    target: str
    begin_time: _timestamp_pb2.Timestamp
    undecided: bool
    def __init__(self, key: _Optional[_Union[_key_pb2.Key, _Mapping]] = ..., secret_id: _Optional[str] = ..., target: _Optional[str] = ..., begin_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., undecided: _Optional[bool] = ...) -> None: ...
