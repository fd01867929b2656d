import datetime

from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Key(_message.Message):
    __slots__ = ("name", "version", "etag", "status", "env", "display_name", "client_id", "project_id", "tenant_id", "plan", "limits", "on_outage", "scopes", "secrets", "create_time", "not_before_time", "expire_time", "ttl", "never_expires", "allowed_cidrs", "allowed_hosts", "allowed_origins", "metadata", "outage_grace", "revoke_time", "revocation_reason", "last_use_time", "public", "throttle")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_UNSPECIFIED: _ClassVar[Key.Status]
        STATUS_ACTIVE: _ClassVar[Key.Status]
        STATUS_DISABLED: _ClassVar[Key.Status]
        STATUS_REVOKED: _ClassVar[Key.Status]
        STATUS_CANARY: _ClassVar[Key.Status]
    STATUS_UNSPECIFIED: Key.Status
    STATUS_ACTIVE: Key.Status
    STATUS_DISABLED: Key.Status
    STATUS_REVOKED: Key.Status
    STATUS_CANARY: Key.Status
    class Environment(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ENVIRONMENT_UNSPECIFIED: _ClassVar[Key.Environment]
        ENVIRONMENT_LIVE: _ClassVar[Key.Environment]
        ENVIRONMENT_TEST: _ClassVar[Key.Environment]
    ENVIRONMENT_UNSPECIFIED: Key.Environment
    ENVIRONMENT_LIVE: Key.Environment
    ENVIRONMENT_TEST: Key.Environment
    class OnOutage(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ON_OUTAGE_UNSPECIFIED: _ClassVar[Key.OnOutage]
        ON_OUTAGE_LOCAL: _ClassVar[Key.OnOutage]
        ON_OUTAGE_ALLOW: _ClassVar[Key.OnOutage]
        ON_OUTAGE_DENY: _ClassVar[Key.OnOutage]
    ON_OUTAGE_UNSPECIFIED: Key.OnOutage
    ON_OUTAGE_LOCAL: Key.OnOutage
    ON_OUTAGE_ALLOW: Key.OnOutage
    ON_OUTAGE_DENY: Key.OnOutage
    class RevocationReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REVOCATION_REASON_UNSPECIFIED: _ClassVar[Key.RevocationReason]
        REVOCATION_REASON_KEY_COMPROMISE: _ClassVar[Key.RevocationReason]
        REVOCATION_REASON_AFFILIATION_CHANGED: _ClassVar[Key.RevocationReason]
        REVOCATION_REASON_SUPERSEDED: _ClassVar[Key.RevocationReason]
        REVOCATION_REASON_CESSATION_OF_OPERATION: _ClassVar[Key.RevocationReason]
        REVOCATION_REASON_PRIVILEGE_WITHDRAWN: _ClassVar[Key.RevocationReason]
    REVOCATION_REASON_UNSPECIFIED: Key.RevocationReason
    REVOCATION_REASON_KEY_COMPROMISE: Key.RevocationReason
    REVOCATION_REASON_AFFILIATION_CHANGED: Key.RevocationReason
    REVOCATION_REASON_SUPERSEDED: Key.RevocationReason
    REVOCATION_REASON_CESSATION_OF_OPERATION: Key.RevocationReason
    REVOCATION_REASON_PRIVILEGE_WITHDRAWN: Key.RevocationReason
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    ON_OUTAGE_FIELD_NUMBER: _ClassVar[int]
    SCOPES_FIELD_NUMBER: _ClassVar[int]
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    NEVER_EXPIRES_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_CIDRS_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_HOSTS_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_ORIGINS_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    OUTAGE_GRACE_FIELD_NUMBER: _ClassVar[int]
    REVOKE_TIME_FIELD_NUMBER: _ClassVar[int]
    REVOCATION_REASON_FIELD_NUMBER: _ClassVar[int]
    LAST_USE_TIME_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_FIELD_NUMBER: _ClassVar[int]
    THROTTLE_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    etag: str
    status: Key.Status
    env: Key.Environment
    display_name: str
    client_id: str
    project_id: str
    tenant_id: str
    plan: str
    limits: _containers.RepeatedCompositeFieldContainer[Limit]
    on_outage: Key.OnOutage
    scopes: _containers.RepeatedScalarFieldContainer[str]
    secrets: _containers.RepeatedCompositeFieldContainer[KeySecret]
    create_time: _timestamp_pb2.Timestamp
    not_before_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    ttl: _duration_pb2.Duration
    never_expires: bool
    allowed_cidrs: _containers.RepeatedScalarFieldContainer[str]
    allowed_hosts: _containers.RepeatedScalarFieldContainer[str]
    allowed_origins: _containers.RepeatedScalarFieldContainer[str]
    metadata: _containers.ScalarMap[str, str]
    outage_grace: _duration_pb2.Duration
    revoke_time: _timestamp_pb2.Timestamp
    revocation_reason: Key.RevocationReason
    last_use_time: _timestamp_pb2.Timestamp
    public: bool
    throttle: Throttle
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., etag: _Optional[str] = ..., status: _Optional[_Union[Key.Status, str]] = ..., env: _Optional[_Union[Key.Environment, str]] = ..., display_name: _Optional[str] = ..., client_id: _Optional[str] = ..., project_id: _Optional[str] = ..., tenant_id: _Optional[str] = ..., plan: _Optional[str] = ..., limits: _Optional[_Iterable[_Union[Limit, _Mapping]]] = ..., on_outage: _Optional[_Union[Key.OnOutage, str]] = ..., scopes: _Optional[_Iterable[str]] = ..., secrets: _Optional[_Iterable[_Union[KeySecret, _Mapping]]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., not_before_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., never_expires: _Optional[bool] = ..., allowed_cidrs: _Optional[_Iterable[str]] = ..., allowed_hosts: _Optional[_Iterable[str]] = ..., allowed_origins: _Optional[_Iterable[str]] = ..., metadata: _Optional[_Mapping[str, str]] = ..., outage_grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., revoke_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., revocation_reason: _Optional[_Union[Key.RevocationReason, str]] = ..., last_use_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., public: _Optional[bool] = ..., throttle: _Optional[_Union[Throttle, _Mapping]] = ...) -> None: ...

class Throttle(_message.Message):
    __slots__ = ("percent", "end_time")
    PERCENT_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    percent: int
    end_time: _timestamp_pb2.Timestamp
    def __init__(self, percent: _Optional[int] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class KeySecret(_message.Message):
    __slots__ = ("secret_id", "pepper", "create_time", "retire_time")
    SECRET_ID_FIELD_NUMBER: _ClassVar[int]
    PEPPER_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    RETIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    secret_id: str
    pepper: str
    create_time: _timestamp_pb2.Timestamp
    retire_time: _timestamp_pb2.Timestamp
    def __init__(self, secret_id: _Optional[str] = ..., pepper: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., retire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Limit(_message.Message):
    __slots__ = ("spec", "limit_name", "amount", "period", "time_zone", "burst", "enforced", "counts")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    LIMIT_NAME_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    PERIOD_FIELD_NUMBER: _ClassVar[int]
    TIME_ZONE_FIELD_NUMBER: _ClassVar[int]
    BURST_FIELD_NUMBER: _ClassVar[int]
    ENFORCED_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    spec: str
    limit_name: str
    amount: int
    period: str
    time_zone: str
    burst: int
    enforced: bool
    counts: str
    def __init__(self, spec: _Optional[str] = ..., limit_name: _Optional[str] = ..., amount: _Optional[int] = ..., period: _Optional[str] = ..., time_zone: _Optional[str] = ..., burst: _Optional[int] = ..., enforced: _Optional[bool] = ..., counts: _Optional[str] = ...) -> None: ...

class ChangeOutcome(_message.Message):
    __slots__ = ("changed", "detail", "replicas", "confirmation")
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    CONFIRMATION_FIELD_NUMBER: _ClassVar[int]
    changed: bool
    detail: str
    replicas: int
    confirmation: Confirmation
    def __init__(self, changed: _Optional[bool] = ..., detail: _Optional[str] = ..., replicas: _Optional[int] = ..., confirmation: _Optional[_Union[Confirmation, _Mapping]] = ...) -> None: ...

class Confirmation(_message.Message):
    __slots__ = ("complete", "sidecars", "confirmed", "elapsed", "outstanding", "error")
    class Outstanding(_message.Message):
        __slots__ = ("instance", "may_act_until_time", "over")
        INSTANCE_FIELD_NUMBER: _ClassVar[int]
        MAY_ACT_UNTIL_TIME_FIELD_NUMBER: _ClassVar[int]
        OVER_FIELD_NUMBER: _ClassVar[int]
        instance: str
        may_act_until_time: _timestamp_pb2.Timestamp
        over: bool
        def __init__(self, instance: _Optional[str] = ..., may_act_until_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., over: _Optional[bool] = ...) -> None: ...
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    SIDECARS_FIELD_NUMBER: _ClassVar[int]
    CONFIRMED_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_FIELD_NUMBER: _ClassVar[int]
    OUTSTANDING_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    complete: bool
    sidecars: int
    confirmed: int
    elapsed: _duration_pb2.Duration
    outstanding: _containers.RepeatedCompositeFieldContainer[Confirmation.Outstanding]
    error: str
    def __init__(self, complete: _Optional[bool] = ..., sidecars: _Optional[int] = ..., confirmed: _Optional[int] = ..., elapsed: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., outstanding: _Optional[_Iterable[_Union[Confirmation.Outstanding, _Mapping]]] = ..., error: _Optional[str] = ...) -> None: ...
