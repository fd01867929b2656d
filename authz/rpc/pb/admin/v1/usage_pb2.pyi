import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UsageGroup(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    USAGE_GROUP_UNSPECIFIED: _ClassVar[UsageGroup]
    USAGE_GROUP_HOUR: _ClassVar[UsageGroup]
    USAGE_GROUP_DAY: _ClassVar[UsageGroup]
    USAGE_GROUP_MONTH: _ClassVar[UsageGroup]
    USAGE_GROUP_ROUTE: _ClassVar[UsageGroup]
    USAGE_GROUP_STATUS: _ClassVar[UsageGroup]
    USAGE_GROUP_MINUTE: _ClassVar[UsageGroup]
    USAGE_GROUP_MODEL: _ClassVar[UsageGroup]

class UsageOrder(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    USAGE_ORDER_UNSPECIFIED: _ClassVar[UsageOrder]
    USAGE_ORDER_REQUESTS: _ClassVar[UsageOrder]
    USAGE_ORDER_UNITS: _ClassVar[UsageOrder]
    USAGE_ORDER_DENIED: _ClassVar[UsageOrder]

class AnomalyFeature(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ANOMALY_FEATURE_UNSPECIFIED: _ClassVar[AnomalyFeature]
    ANOMALY_FEATURE_RATE: _ClassVar[AnomalyFeature]
    ANOMALY_FEATURE_SILENCE: _ClassVar[AnomalyFeature]
    ANOMALY_FEATURE_NETWORKS: _ClassVar[AnomalyFeature]
    ANOMALY_FEATURE_AGENTS: _ClassVar[AnomalyFeature]
    ANOMALY_FEATURE_DENIED: _ClassVar[AnomalyFeature]
    ANOMALY_FEATURE_ERRORS: _ClassVar[AnomalyFeature]

class AnomalyRisk(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ANOMALY_RISK_UNSPECIFIED: _ClassVar[AnomalyRisk]
    ANOMALY_RISK_ELEVATED: _ClassVar[AnomalyRisk]
    ANOMALY_RISK_HIGH: _ClassVar[AnomalyRisk]
USAGE_GROUP_UNSPECIFIED: UsageGroup
USAGE_GROUP_HOUR: UsageGroup
USAGE_GROUP_DAY: UsageGroup
USAGE_GROUP_MONTH: UsageGroup
USAGE_GROUP_ROUTE: UsageGroup
USAGE_GROUP_STATUS: UsageGroup
USAGE_GROUP_MINUTE: UsageGroup
USAGE_GROUP_MODEL: UsageGroup
USAGE_ORDER_UNSPECIFIED: UsageOrder
USAGE_ORDER_REQUESTS: UsageOrder
USAGE_ORDER_UNITS: UsageOrder
USAGE_ORDER_DENIED: UsageOrder
ANOMALY_FEATURE_UNSPECIFIED: AnomalyFeature
ANOMALY_FEATURE_RATE: AnomalyFeature
ANOMALY_FEATURE_SILENCE: AnomalyFeature
ANOMALY_FEATURE_NETWORKS: AnomalyFeature
ANOMALY_FEATURE_AGENTS: AnomalyFeature
ANOMALY_FEATURE_DENIED: AnomalyFeature
ANOMALY_FEATURE_ERRORS: AnomalyFeature
ANOMALY_RISK_UNSPECIFIED: AnomalyRisk
ANOMALY_RISK_ELEVATED: AnomalyRisk
ANOMALY_RISK_HIGH: AnomalyRisk

class UsageCounts(_message.Message):
    __slots__ = ("requests", "ok", "client_error", "server_error", "denied", "aborted", "units", "bytes_in", "bytes_out", "duration_ms", "over_100_ms", "over_1_s", "over_10_s", "input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens", "micro_usd", "estimated")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    OK_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ERROR_FIELD_NUMBER: _ClassVar[int]
    SERVER_ERROR_FIELD_NUMBER: _ClassVar[int]
    DENIED_FIELD_NUMBER: _ClassVar[int]
    ABORTED_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    BYTES_IN_FIELD_NUMBER: _ClassVar[int]
    BYTES_OUT_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    OVER_100_MS_FIELD_NUMBER: _ClassVar[int]
    OVER_1_S_FIELD_NUMBER: _ClassVar[int]
    OVER_10_S_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHE_WRITE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    REASONING_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MICRO_USD_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_FIELD_NUMBER: _ClassVar[int]
    requests: int
    ok: int
    client_error: int
    server_error: int
    denied: int
    aborted: int
    units: int
    bytes_in: int
    bytes_out: int
    duration_ms: int
    over_100_ms: int
    over_1_s: int
    over_10_s: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    micro_usd: int
    estimated: int
    def __init__(self, requests: _Optional[int] = ..., ok: _Optional[int] = ..., client_error: _Optional[int] = ..., server_error: _Optional[int] = ..., denied: _Optional[int] = ..., aborted: _Optional[int] = ..., units: _Optional[int] = ..., bytes_in: _Optional[int] = ..., bytes_out: _Optional[int] = ..., duration_ms: _Optional[int] = ..., over_100_ms: _Optional[int] = ..., over_1_s: _Optional[int] = ..., over_10_s: _Optional[int] = ..., input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., cached_tokens: _Optional[int] = ..., cache_write_tokens: _Optional[int] = ..., reasoning_tokens: _Optional[int] = ..., micro_usd: _Optional[int] = ..., estimated: _Optional[int] = ...) -> None: ...

class UsageRow(_message.Message):
    __slots__ = ("start_time", "route", "status", "model", "counts")
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    start_time: _timestamp_pb2.Timestamp
    route: str
    status: str
    model: str
    counts: UsageCounts
    def __init__(self, start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., route: _Optional[str] = ..., status: _Optional[str] = ..., model: _Optional[str] = ..., counts: _Optional[_Union[UsageCounts, _Mapping]] = ...) -> None: ...

class UsageReport(_message.Message):
    __slots__ = ("start_time", "end_time", "rows", "total", "key_count", "denied_by_reason", "completeness")
    class DeniedByReasonEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    KEY_COUNT_FIELD_NUMBER: _ClassVar[int]
    DENIED_BY_REASON_FIELD_NUMBER: _ClassVar[int]
    COMPLETENESS_FIELD_NUMBER: _ClassVar[int]
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    rows: _containers.RepeatedCompositeFieldContainer[UsageRow]
    total: UsageCounts
    key_count: int
    denied_by_reason: _containers.ScalarMap[str, int]
    completeness: UsageCompleteness
    def __init__(self, start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., rows: _Optional[_Iterable[_Union[UsageRow, _Mapping]]] = ..., total: _Optional[_Union[UsageCounts, _Mapping]] = ..., key_count: _Optional[int] = ..., denied_by_reason: _Optional[_Mapping[str, int]] = ..., completeness: _Optional[_Union[UsageCompleteness, _Mapping]] = ...) -> None: ...

class UsageCompleteness(_message.Message):
    __slots__ = ("issued", "seen", "missing", "repeated")
    ISSUED_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    REPEATED_FIELD_NUMBER: _ClassVar[int]
    issued: int
    seen: int
    missing: int
    repeated: int
    def __init__(self, issued: _Optional[int] = ..., seen: _Optional[int] = ..., missing: _Optional[int] = ..., repeated: _Optional[int] = ...) -> None: ...

class KeyUse(_message.Message):
    __slots__ = ("use_time", "network", "user_agent")
    USE_TIME_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    USER_AGENT_FIELD_NUMBER: _ClassVar[int]
    use_time: _timestamp_pb2.Timestamp
    network: str
    user_agent: str
    def __init__(self, use_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., network: _Optional[str] = ..., user_agent: _Optional[str] = ...) -> None: ...

class SecretUse(_message.Message):
    __slots__ = ("secret_id", "latest", "requests")
    SECRET_ID_FIELD_NUMBER: _ClassVar[int]
    LATEST_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    secret_id: str
    latest: KeyUse
    requests: int
    def __init__(self, secret_id: _Optional[str] = ..., latest: _Optional[_Union[KeyUse, _Mapping]] = ..., requests: _Optional[int] = ...) -> None: ...

class KeyDenial(_message.Message):
    __slots__ = ("denial_time", "reason", "route", "status", "network", "method", "requests")
    DENIAL_TIME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    denial_time: _timestamp_pb2.Timestamp
    reason: str
    route: str
    status: str
    network: str
    method: str
    requests: int
    def __init__(self, denial_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ..., route: _Optional[str] = ..., status: _Optional[str] = ..., network: _Optional[str] = ..., method: _Optional[str] = ..., requests: _Optional[int] = ...) -> None: ...

class LatestUse(_message.Message):
    __slots__ = ("name", "latest", "secrets", "last_30_days", "denials")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LATEST_FIELD_NUMBER: _ClassVar[int]
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    LAST_30_DAYS_FIELD_NUMBER: _ClassVar[int]
    DENIALS_FIELD_NUMBER: _ClassVar[int]
    name: str
    latest: KeyUse
    secrets: _containers.RepeatedCompositeFieldContainer[SecretUse]
    last_30_days: UsageCounts
    denials: _containers.RepeatedCompositeFieldContainer[KeyDenial]
    def __init__(self, name: _Optional[str] = ..., latest: _Optional[_Union[KeyUse, _Mapping]] = ..., secrets: _Optional[_Iterable[_Union[SecretUse, _Mapping]]] = ..., last_30_days: _Optional[_Union[UsageCounts, _Mapping]] = ..., denials: _Optional[_Iterable[_Union[KeyDenial, _Mapping]]] = ...) -> None: ...

class ListUsageRequest(_message.Message):
    __slots__ = ("key", "filter", "since_time", "until_time", "group_by", "page_size", "page_token")
    KEY_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    SINCE_TIME_FIELD_NUMBER: _ClassVar[int]
    UNTIL_TIME_FIELD_NUMBER: _ClassVar[int]
    GROUP_BY_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    key: str
    filter: str
    since_time: _timestamp_pb2.Timestamp
    until_time: _timestamp_pb2.Timestamp
    group_by: UsageGroup
    page_size: int
    page_token: str
    def __init__(self, key: _Optional[str] = ..., filter: _Optional[str] = ..., since_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., until_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., group_by: _Optional[_Union[UsageGroup, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListUsageResponse(_message.Message):
    __slots__ = ("report", "next_page_token")
    REPORT_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    report: UsageReport
    next_page_token: str
    def __init__(self, report: _Optional[_Union[UsageReport, _Mapping]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListTopKeysRequest(_message.Message):
    __slots__ = ("order", "since_time", "limit", "month")
    ORDER_FIELD_NUMBER: _ClassVar[int]
    SINCE_TIME_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    MONTH_FIELD_NUMBER: _ClassVar[int]
    order: UsageOrder
    since_time: _timestamp_pb2.Timestamp
    limit: int
    month: str
    def __init__(self, order: _Optional[_Union[UsageOrder, str]] = ..., since_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., limit: _Optional[int] = ..., month: _Optional[str] = ...) -> None: ...

class ListTopKeysResponse(_message.Message):
    __slots__ = ("keys", "start_time", "key_count")
    class TopKey(_message.Message):
        __slots__ = ("name", "client_id", "counts", "display_name")
        NAME_FIELD_NUMBER: _ClassVar[int]
        CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
        COUNTS_FIELD_NUMBER: _ClassVar[int]
        DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
        name: str
        client_id: str
        counts: UsageCounts
        display_name: str
        def __init__(self, name: _Optional[str] = ..., client_id: _Optional[str] = ..., counts: _Optional[_Union[UsageCounts, _Mapping]] = ..., display_name: _Optional[str] = ...) -> None: ...
    KEYS_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    KEY_COUNT_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[ListTopKeysResponse.TopKey]
    start_time: _timestamp_pb2.Timestamp
    key_count: int
    def __init__(self, keys: _Optional[_Iterable[_Union[ListTopKeysResponse.TopKey, _Mapping]]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., key_count: _Optional[int] = ...) -> None: ...

class GetLatestUseRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetLatestUseResponse(_message.Message):
    __slots__ = ("latest_use",)
    LATEST_USE_FIELD_NUMBER: _ClassVar[int]
    latest_use: LatestUse
    def __init__(self, latest_use: _Optional[_Union[LatestUse, _Mapping]] = ...) -> None: ...

class EraseUsageRequest(_message.Message):
    __slots__ = ("name", "validate_only", "note")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    name: str
    validate_only: bool
    note: str
    def __init__(self, name: _Optional[str] = ..., validate_only: _Optional[bool] = ..., note: _Optional[str] = ...) -> None: ...

class EraseUsageResponse(_message.Message):
    __slots__ = ("erased",)
    ERASED_FIELD_NUMBER: _ClassVar[int]
    erased: int
    def __init__(self, erased: _Optional[int] = ...) -> None: ...

class ListAnomaliesRequest(_message.Message):
    __slots__ = ("since_time", "limit", "name")
    SINCE_TIME_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    since_time: _timestamp_pb2.Timestamp
    limit: int
    name: str
    def __init__(self, since_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., limit: _Optional[int] = ..., name: _Optional[str] = ...) -> None: ...

class ListAnomaliesResponse(_message.Message):
    __slots__ = ("keys", "key_count", "judged")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    KEY_COUNT_FIELD_NUMBER: _ClassVar[int]
    JUDGED_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[KeyAnomaly]
    key_count: int
    judged: JudgedHour
    def __init__(self, keys: _Optional[_Iterable[_Union[KeyAnomaly, _Mapping]]] = ..., key_count: _Optional[int] = ..., judged: _Optional[_Union[JudgedHour, _Mapping]] = ...) -> None: ...

class KeyAnomaly(_message.Message):
    __slots__ = ("name", "client_id", "risk", "reasons", "score", "first_time", "last_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    RISK_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    FIRST_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    client_id: str
    risk: AnomalyRisk
    reasons: _containers.RepeatedCompositeFieldContainer[AnomalyReason]
    score: float
    first_time: _timestamp_pb2.Timestamp
    last_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., client_id: _Optional[str] = ..., risk: _Optional[_Union[AnomalyRisk, str]] = ..., reasons: _Optional[_Iterable[_Union[AnomalyReason, _Mapping]]] = ..., score: _Optional[float] = ..., first_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class AnomalyReason(_message.Message):
    __slots__ = ("feature", "observed", "expected", "strength")
    FEATURE_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    STRENGTH_FIELD_NUMBER: _ClassVar[int]
    feature: AnomalyFeature
    observed: float
    expected: float
    strength: float
    def __init__(self, feature: _Optional[_Union[AnomalyFeature, str]] = ..., observed: _Optional[float] = ..., expected: _Optional[float] = ..., strength: _Optional[float] = ...) -> None: ...

class JudgedHour(_message.Message):
    __slots__ = ("start_time", "key_count", "anomaly_count", "not_judged")
    class NotJudged(_message.Message):
        __slots__ = ("feature", "cause", "key_count")
        FEATURE_FIELD_NUMBER: _ClassVar[int]
        CAUSE_FIELD_NUMBER: _ClassVar[int]
        KEY_COUNT_FIELD_NUMBER: _ClassVar[int]
        feature: AnomalyFeature
        cause: str
        key_count: int
        def __init__(self, feature: _Optional[_Union[AnomalyFeature, str]] = ..., cause: _Optional[str] = ..., key_count: _Optional[int] = ...) -> None: ...
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    KEY_COUNT_FIELD_NUMBER: _ClassVar[int]
    ANOMALY_COUNT_FIELD_NUMBER: _ClassVar[int]
    NOT_JUDGED_FIELD_NUMBER: _ClassVar[int]
    start_time: _timestamp_pb2.Timestamp
    key_count: int
    anomaly_count: int
    not_judged: _containers.RepeatedCompositeFieldContainer[JudgedHour.NotJudged]
    def __init__(self, start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., key_count: _Optional[int] = ..., anomaly_count: _Optional[int] = ..., not_judged: _Optional[_Iterable[_Union[JudgedHour.NotJudged, _Mapping]]] = ...) -> None: ...
