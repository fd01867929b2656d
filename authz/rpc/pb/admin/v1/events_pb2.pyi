import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Event(_message.Message):
    __slots__ = ("id", "type", "source", "key", "event_time", "data")
    ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    id: str
    type: str
    source: str
    key: str
    event_time: _timestamp_pb2.Timestamp
    data: _struct_pb2.Struct
    def __init__(self, id: _Optional[str] = ..., type: _Optional[str] = ..., source: _Optional[str] = ..., key: _Optional[str] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., data: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class EventSink(_message.Message):
    __slots__ = ("name", "kind", "event_types", "started", "failing_event_id", "failing_since_time", "tries", "dead_events")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    EVENT_TYPES_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    FAILING_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    FAILING_SINCE_TIME_FIELD_NUMBER: _ClassVar[int]
    TRIES_FIELD_NUMBER: _ClassVar[int]
    DEAD_EVENTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: str
    event_types: _containers.RepeatedScalarFieldContainer[str]
    started: bool
    failing_event_id: str
    failing_since_time: _timestamp_pb2.Timestamp
    tries: int
    dead_events: int
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[str] = ..., event_types: _Optional[_Iterable[str]] = ..., started: _Optional[bool] = ..., failing_event_id: _Optional[str] = ..., failing_since_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., tries: _Optional[int] = ..., dead_events: _Optional[int] = ...) -> None: ...

class DeadEvent(_message.Message):
    __slots__ = ("event_id", "event_type", "key", "give_up_time", "problem")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    EVENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    GIVE_UP_TIME_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    event_type: str
    key: str
    give_up_time: _timestamp_pb2.Timestamp
    problem: str
    def __init__(self, event_id: _Optional[str] = ..., event_type: _Optional[str] = ..., key: _Optional[str] = ..., give_up_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., problem: _Optional[str] = ...) -> None: ...

class ListEventsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "event_type", "key")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    EVENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    event_type: str
    key: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., event_type: _Optional[str] = ..., key: _Optional[str] = ...) -> None: ...

class ListEventsResponse(_message.Message):
    __slots__ = ("events", "next_page_token")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    next_page_token: str
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListEventSinksRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListEventSinksResponse(_message.Message):
    __slots__ = ("event_sinks",)
    EVENT_SINKS_FIELD_NUMBER: _ClassVar[int]
    event_sinks: _containers.RepeatedCompositeFieldContainer[EventSink]
    def __init__(self, event_sinks: _Optional[_Iterable[_Union[EventSink, _Mapping]]] = ...) -> None: ...

class ListDeadEventsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListDeadEventsResponse(_message.Message):
    __slots__ = ("dead_events", "next_page_token")
    DEAD_EVENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    dead_events: _containers.RepeatedCompositeFieldContainer[DeadEvent]
    next_page_token: str
    def __init__(self, dead_events: _Optional[_Iterable[_Union[DeadEvent, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ReplayEventsRequest(_message.Message):
    __slots__ = ("name", "event_ids", "all_dead", "validate_only", "note")
    NAME_FIELD_NUMBER: _ClassVar[int]
    EVENT_IDS_FIELD_NUMBER: _ClassVar[int]
    ALL_DEAD_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    name: str
    event_ids: _containers.RepeatedScalarFieldContainer[str]
    all_dead: bool
    validate_only: bool
    note: str
    def __init__(self, name: _Optional[str] = ..., event_ids: _Optional[_Iterable[str]] = ..., all_dead: _Optional[bool] = ..., validate_only: _Optional[bool] = ..., note: _Optional[str] = ...) -> None: ...

class ReplayEventsResponse(_message.Message):
    __slots__ = ("replayed_events",)
    REPLAYED_EVENTS_FIELD_NUMBER: _ClassVar[int]
    replayed_events: int
    def __init__(self, replayed_events: _Optional[int] = ...) -> None: ...
