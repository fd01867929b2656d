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

class ListBlockedClientsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListBlockedClientsResponse(_message.Message):
    __slots__ = ("clients", "allowed_networks")
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_NETWORKS_FIELD_NUMBER: _ClassVar[int]
    clients: _containers.RepeatedCompositeFieldContainer[BlockedClient]
    allowed_networks: _containers.RepeatedCompositeFieldContainer[AllowedNetwork]
    def __init__(self, clients: _Optional[_Iterable[_Union[BlockedClient, _Mapping]]] = ..., allowed_networks: _Optional[_Iterable[_Union[AllowedNetwork, _Mapping]]] = ...) -> None: ...

class BlockedClient(_message.Message):
    __slots__ = ("client", "end_time")
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    client: str
    end_time: _timestamp_pb2.Timestamp
    def __init__(self, client: _Optional[str] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class AllowedNetwork(_message.Message):
    __slots__ = ("network", "author")
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    network: str
    author: str
    def __init__(self, network: _Optional[str] = ..., author: _Optional[str] = ...) -> None: ...

class ClearBlockedClientsRequest(_message.Message):
    __slots__ = ("clients", "validate_only", "note")
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    clients: _containers.RepeatedScalarFieldContainer[str]
    validate_only: bool
    note: str
    def __init__(self, clients: _Optional[_Iterable[str]] = ..., validate_only: _Optional[bool] = ..., note: _Optional[str] = ...) -> None: ...

class ClearBlockedClientsResponse(_message.Message):
    __slots__ = ("cleared",)
    CLEARED_FIELD_NUMBER: _ClassVar[int]
    cleared: int
    def __init__(self, cleared: _Optional[int] = ...) -> None: ...

class AllowNetworkRequest(_message.Message):
    __slots__ = ("network", "remove", "validate_only", "note")
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    network: str
    remove: bool
    validate_only: bool
    note: str
    def __init__(self, network: _Optional[str] = ..., remove: _Optional[bool] = ..., validate_only: _Optional[bool] = ..., note: _Optional[str] = ...) -> None: ...

class AllowNetworkResponse(_message.Message):
    __slots__ = ("changed",)
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    changed: bool
    def __init__(self, changed: _Optional[bool] = ...) -> None: ...

class ListSidecarsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListSidecarsResponse(_message.Message):
    __slots__ = ("sidecars", "version", "partition_versions")
    SIDECARS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PARTITION_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    sidecars: _containers.RepeatedCompositeFieldContainer[Sidecar]
    version: int
    partition_versions: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, sidecars: _Optional[_Iterable[_Union[Sidecar, _Mapping]]] = ..., version: _Optional[int] = ..., partition_versions: _Optional[_Iterable[int]] = ...) -> None: ...

class Sidecar(_message.Message):
    __slots__ = ("instance", "program_version", "address", "start_time", "applied_version", "lag", "trusted", "reason", "silence", "cached_keys", "trust_lease", "outage_grace", "settings_version", "settings_load_time", "charge_prefix", "issued_charges")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_VERSION_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    APPLIED_VERSION_FIELD_NUMBER: _ClassVar[int]
    LAG_FIELD_NUMBER: _ClassVar[int]
    TRUSTED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SILENCE_FIELD_NUMBER: _ClassVar[int]
    CACHED_KEYS_FIELD_NUMBER: _ClassVar[int]
    TRUST_LEASE_FIELD_NUMBER: _ClassVar[int]
    OUTAGE_GRACE_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_VERSION_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_LOAD_TIME_FIELD_NUMBER: _ClassVar[int]
    CHARGE_PREFIX_FIELD_NUMBER: _ClassVar[int]
    ISSUED_CHARGES_FIELD_NUMBER: _ClassVar[int]
    instance: str
    program_version: str
    address: str
    start_time: _timestamp_pb2.Timestamp
    applied_version: int
    lag: int
    trusted: bool
    reason: str
    silence: _duration_pb2.Duration
    cached_keys: int
    trust_lease: _duration_pb2.Duration
    outage_grace: _duration_pb2.Duration
    settings_version: str
    settings_load_time: _timestamp_pb2.Timestamp
    charge_prefix: str
    issued_charges: int
    def __init__(self, instance: _Optional[str] = ..., program_version: _Optional[str] = ..., address: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., applied_version: _Optional[int] = ..., lag: _Optional[int] = ..., trusted: _Optional[bool] = ..., reason: _Optional[str] = ..., silence: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., cached_keys: _Optional[int] = ..., trust_lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., outage_grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., settings_version: _Optional[str] = ..., settings_load_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., charge_prefix: _Optional[str] = ..., issued_charges: _Optional[int] = ...) -> None: ...

class WatchChangesRequest(_message.Message):
    __slots__ = ("after_version", "after_partition_versions")
    AFTER_VERSION_FIELD_NUMBER: _ClassVar[int]
    AFTER_PARTITION_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    after_version: int
    after_partition_versions: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, after_version: _Optional[int] = ..., after_partition_versions: _Optional[_Iterable[int]] = ...) -> None: ...

class WatchChangesResponse(_message.Message):
    __slots__ = ("version", "key", "status", "change_time", "partition_versions")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CHANGE_TIME_FIELD_NUMBER: _ClassVar[int]
    PARTITION_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    version: int
    key: str
    status: _key_pb2.Key.Status
    change_time: _timestamp_pb2.Timestamp
    partition_versions: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, version: _Optional[int] = ..., key: _Optional[str] = ..., status: _Optional[_Union[_key_pb2.Key.Status, str]] = ..., change_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., partition_versions: _Optional[_Iterable[int]] = ...) -> None: ...
