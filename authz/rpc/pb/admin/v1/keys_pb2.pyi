import datetime

from authz.rpc.pb.admin.v1 import applied_key_pb2 as _applied_key_pb2
from authz.rpc.pb.admin.v1 import audit_entry_pb2 as _audit_entry_pb2
from authz.rpc.pb.admin.v1 import key_pb2 as _key_pb2
from authz.rpc.pb.admin.v1 import limits_pb2 as _limits_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CreateKeyRequest(_message.Message):
    __slots__ = ("key", "request_id", "validate_only", "note", "canary")
    KEY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    CANARY_FIELD_NUMBER: _ClassVar[int]
    key: _key_pb2.Key
    request_id: str
    validate_only: bool
    note: str
    canary: bool
    def __init__(self, key: _Optional[_Union[_key_pb2.Key, _Mapping]] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ..., note: _Optional[str] = ..., canary: _Optional[bool] = ...) -> None: ...

class CreateKeyResponse(_message.Message):
    __slots__ = ("key", "api_key", "outcome")
    KEY_FIELD_NUMBER: _ClassVar[int]
    API_KEY_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    key: _key_pb2.Key
    api_key: str
    outcome: _key_pb2.ChangeOutcome
    def __init__(self, key: _Optional[_Union[_key_pb2.Key, _Mapping]] = ..., api_key: _Optional[str] = ..., outcome: _Optional[_Union[_key_pb2.ChangeOutcome, _Mapping]] = ...) -> None: ...

class GetKeyRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetKeyResponse(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: _key_pb2.Key
    def __init__(self, key: _Optional[_Union[_key_pb2.Key, _Mapping]] = ...) -> None: ...

class ListKeysRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "filter", "order_by")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ORDER_BY_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    filter: str
    order_by: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., filter: _Optional[str] = ..., order_by: _Optional[str] = ...) -> None: ...

class ListKeysResponse(_message.Message):
    __slots__ = ("keys", "next_page_token", "unreadable")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    UNREADABLE_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[_key_pb2.Key]
    next_page_token: str
    unreadable: _containers.RepeatedCompositeFieldContainer[UnreadableKey]
    def __init__(self, keys: _Optional[_Iterable[_Union[_key_pb2.Key, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., unreadable: _Optional[_Iterable[_Union[UnreadableKey, _Mapping]]] = ...) -> None: ...

class UnreadableKey(_message.Message):
    __slots__ = ("name", "reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    reason: str
    def __init__(self, name: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class UpdateKeyRequest(_message.Message):
    __slots__ = ("key", "update_mask", "add_scopes", "remove_scopes", "validate_only", "note", "wait_time", "credits")
    KEY_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    ADD_SCOPES_FIELD_NUMBER: _ClassVar[int]
    REMOVE_SCOPES_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    WAIT_TIME_FIELD_NUMBER: _ClassVar[int]
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    key: _key_pb2.Key
    update_mask: _field_mask_pb2.FieldMask
    add_scopes: _containers.RepeatedScalarFieldContainer[str]
    remove_scopes: _containers.RepeatedScalarFieldContainer[str]
    validate_only: bool
    note: str
    wait_time: _duration_pb2.Duration
    credits: str
    def __init__(self, key: _Optional[_Union[_key_pb2.Key, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., add_scopes: _Optional[_Iterable[str]] = ..., remove_scopes: _Optional[_Iterable[str]] = ..., validate_only: _Optional[bool] = ..., note: _Optional[str] = ..., wait_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., credits: _Optional[str] = ...) -> None: ...

class UpdateKeyResponse(_message.Message):
    __slots__ = ("key", "outcome")
    KEY_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    key: _key_pb2.Key
    outcome: _key_pb2.ChangeOutcome
    def __init__(self, key: _Optional[_Union[_key_pb2.Key, _Mapping]] = ..., outcome: _Optional[_Union[_key_pb2.ChangeOutcome, _Mapping]] = ...) -> None: ...

class RotateKeyRequest(_message.Message):
    __slots__ = ("name", "overlap", "request_id", "etag", "validate_only", "note", "wait_time", "deliver_to")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    WAIT_TIME_FIELD_NUMBER: _ClassVar[int]
    DELIVER_TO_FIELD_NUMBER: _ClassVar[int]
    name: str
    overlap: _duration_pb2.Duration
    request_id: str
    etag: str
    validate_only: bool
    note: str
    wait_time: _duration_pb2.Duration
    deliver_to: str
    def __init__(self, name: _Optional[str] = ..., overlap: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., request_id: _Optional[str] = ..., etag: _Optional[str] = ..., validate_only: _Optional[bool] = ..., note: _Optional[str] = ..., wait_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., deliver_to: _Optional[str] = ...) -> None: ...

class RotateKeyResponse(_message.Message):
    __slots__ = ("key", "api_key", "outcome", "delivery", "delivery_problem")
    KEY_FIELD_NUMBER: _ClassVar[int]
    API_KEY_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_PROBLEM_FIELD_NUMBER: _ClassVar[int]
    key: _key_pb2.Key
    api_key: str
    outcome: _key_pb2.ChangeOutcome
    delivery: str
    delivery_problem: str
    def __init__(self, key: _Optional[_Union[_key_pb2.Key, _Mapping]] = ..., api_key: _Optional[str] = ..., outcome: _Optional[_Union[_key_pb2.ChangeOutcome, _Mapping]] = ..., delivery: _Optional[str] = ..., delivery_problem: _Optional[str] = ...) -> None: ...

class RetireKeySecretRequest(_message.Message):
    __slots__ = ("name", "secret", "etag", "validate_only", "note", "wait_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    WAIT_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    secret: str
    etag: str
    validate_only: bool
    note: str
    wait_time: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., secret: _Optional[str] = ..., etag: _Optional[str] = ..., validate_only: _Optional[bool] = ..., note: _Optional[str] = ..., wait_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RetireKeySecretResponse(_message.Message):
    __slots__ = ("key", "outcome")
    KEY_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    key: _key_pb2.Key
    outcome: _key_pb2.ChangeOutcome
    def __init__(self, key: _Optional[_Union[_key_pb2.Key, _Mapping]] = ..., outcome: _Optional[_Union[_key_pb2.ChangeOutcome, _Mapping]] = ...) -> None: ...

class RollBackKeyRequest(_message.Message):
    __slots__ = ("name", "etag", "validate_only", "note", "wait_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    WAIT_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    validate_only: bool
    note: str
    wait_time: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., validate_only: _Optional[bool] = ..., note: _Optional[str] = ..., wait_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RollBackKeyResponse(_message.Message):
    __slots__ = ("key", "outcome")
    KEY_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    key: _key_pb2.Key
    outcome: _key_pb2.ChangeOutcome
    def __init__(self, key: _Optional[_Union[_key_pb2.Key, _Mapping]] = ..., outcome: _Optional[_Union[_key_pb2.ChangeOutcome, _Mapping]] = ...) -> None: ...

class RevokeKeyRequest(_message.Message):
    __slots__ = ("name", "reason", "etag", "validate_only", "note", "wait_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    WAIT_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    reason: _key_pb2.Key.RevocationReason
    etag: str
    validate_only: bool
    note: str
    wait_time: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., reason: _Optional[_Union[_key_pb2.Key.RevocationReason, str]] = ..., etag: _Optional[str] = ..., validate_only: _Optional[bool] = ..., note: _Optional[str] = ..., wait_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RevokeKeyResponse(_message.Message):
    __slots__ = ("key", "outcome")
    KEY_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    key: _key_pb2.Key
    outcome: _key_pb2.ChangeOutcome
    def __init__(self, key: _Optional[_Union[_key_pb2.Key, _Mapping]] = ..., outcome: _Optional[_Union[_key_pb2.ChangeOutcome, _Mapping]] = ...) -> None: ...

class DisableKeyRequest(_message.Message):
    __slots__ = ("name", "etag", "validate_only", "note", "wait_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    WAIT_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    validate_only: bool
    note: str
    wait_time: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., validate_only: _Optional[bool] = ..., note: _Optional[str] = ..., wait_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class DisableKeyResponse(_message.Message):
    __slots__ = ("key", "outcome")
    KEY_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    key: _key_pb2.Key
    outcome: _key_pb2.ChangeOutcome
    def __init__(self, key: _Optional[_Union[_key_pb2.Key, _Mapping]] = ..., outcome: _Optional[_Union[_key_pb2.ChangeOutcome, _Mapping]] = ...) -> None: ...

class EnableKeyRequest(_message.Message):
    __slots__ = ("name", "etag", "validate_only", "note", "wait_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    WAIT_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    validate_only: bool
    note: str
    wait_time: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., validate_only: _Optional[bool] = ..., note: _Optional[str] = ..., wait_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class EnableKeyResponse(_message.Message):
    __slots__ = ("key", "outcome")
    KEY_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    key: _key_pb2.Key
    outcome: _key_pb2.ChangeOutcome
    def __init__(self, key: _Optional[_Union[_key_pb2.Key, _Mapping]] = ..., outcome: _Optional[_Union[_key_pb2.ChangeOutcome, _Mapping]] = ...) -> None: ...

class DeleteKeyRequest(_message.Message):
    __slots__ = ("name", "force", "etag", "validate_only", "note", "wait_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    WAIT_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    force: bool
    etag: str
    validate_only: bool
    note: str
    wait_time: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., force: _Optional[bool] = ..., etag: _Optional[str] = ..., validate_only: _Optional[bool] = ..., note: _Optional[str] = ..., wait_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class DeleteKeyResponse(_message.Message):
    __slots__ = ("version", "confirmation")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CONFIRMATION_FIELD_NUMBER: _ClassVar[int]
    version: int
    confirmation: _key_pb2.Confirmation
    def __init__(self, version: _Optional[int] = ..., confirmation: _Optional[_Union[_key_pb2.Confirmation, _Mapping]] = ...) -> None: ...

class ListKeyHistoryRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListKeyHistoryResponse(_message.Message):
    __slots__ = ("entries", "next_page_token", "lost_version")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    LOST_VERSION_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[_audit_entry_pb2.AuditEntry]
    next_page_token: str
    lost_version: int
    def __init__(self, entries: _Optional[_Iterable[_Union[_audit_entry_pb2.AuditEntry, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., lost_version: _Optional[int] = ...) -> None: ...

class VerifyKeyRequest(_message.Message):
    __slots__ = ("api_key", "method", "host", "path", "client_address", "origin", "required_scopes", "required_env", "cost", "name", "model", "public_route")
    API_KEY_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_SCOPES_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_ENV_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_ROUTE_FIELD_NUMBER: _ClassVar[int]
    api_key: str
    method: str
    host: str
    path: str
    client_address: str
    origin: str
    required_scopes: _containers.RepeatedScalarFieldContainer[str]
    required_env: _key_pb2.Key.Environment
    cost: int
    name: str
    model: str
    public_route: bool
    def __init__(self, api_key: _Optional[str] = ..., method: _Optional[str] = ..., host: _Optional[str] = ..., path: _Optional[str] = ..., client_address: _Optional[str] = ..., origin: _Optional[str] = ..., required_scopes: _Optional[_Iterable[str]] = ..., required_env: _Optional[_Union[_key_pb2.Key.Environment, str]] = ..., cost: _Optional[int] = ..., name: _Optional[str] = ..., model: _Optional[str] = ..., public_route: _Optional[bool] = ...) -> None: ...

class VerifyKeyResponse(_message.Message):
    __slots__ = ("allowed", "reason", "checks", "key", "fault", "limits", "status_code", "code", "violated_limits", "enforced")
    class Check(_message.Message):
        __slots__ = ("check_name", "passed", "reason", "detail")
        CHECK_NAME_FIELD_NUMBER: _ClassVar[int]
        PASSED_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        DETAIL_FIELD_NUMBER: _ClassVar[int]
        check_name: str
        passed: bool
        reason: str
        detail: str
        def __init__(self, check_name: _Optional[str] = ..., passed: _Optional[bool] = ..., reason: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    STATUS_CODE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    VIOLATED_LIMITS_FIELD_NUMBER: _ClassVar[int]
    ENFORCED_FIELD_NUMBER: _ClassVar[int]
    allowed: bool
    reason: str
    checks: _containers.RepeatedCompositeFieldContainer[VerifyKeyResponse.Check]
    key: _key_pb2.Key
    fault: str
    limits: _limits_pb2.KeyLimits
    status_code: int
    code: str
    violated_limits: _containers.RepeatedScalarFieldContainer[str]
    enforced: bool
    def __init__(self, allowed: _Optional[bool] = ..., reason: _Optional[str] = ..., checks: _Optional[_Iterable[_Union[VerifyKeyResponse.Check, _Mapping]]] = ..., key: _Optional[_Union[_key_pb2.Key, _Mapping]] = ..., fault: _Optional[str] = ..., limits: _Optional[_Union[_limits_pb2.KeyLimits, _Mapping]] = ..., status_code: _Optional[int] = ..., code: _Optional[str] = ..., violated_limits: _Optional[_Iterable[str]] = ..., enforced: _Optional[bool] = ...) -> None: ...

class ChangeKeysRequest(_message.Message):
    __slots__ = ("filter", "update", "rotate", "revoke", "disable", "enable", "delete", "max_keys", "validate_only", "note", "wait_time", "names")
    class Update(_message.Message):
        __slots__ = ("key", "update_mask", "add_scopes", "remove_scopes", "credits")
        KEY_FIELD_NUMBER: _ClassVar[int]
        UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
        ADD_SCOPES_FIELD_NUMBER: _ClassVar[int]
        REMOVE_SCOPES_FIELD_NUMBER: _ClassVar[int]
        CREDITS_FIELD_NUMBER: _ClassVar[int]
        key: _key_pb2.Key
        update_mask: _field_mask_pb2.FieldMask
        add_scopes: _containers.RepeatedScalarFieldContainer[str]
        remove_scopes: _containers.RepeatedScalarFieldContainer[str]
        credits: str
        def __init__(self, key: _Optional[_Union[_key_pb2.Key, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., add_scopes: _Optional[_Iterable[str]] = ..., remove_scopes: _Optional[_Iterable[str]] = ..., credits: _Optional[str] = ...) -> None: ...
    class Rotate(_message.Message):
        __slots__ = ("overlap",)
        OVERLAP_FIELD_NUMBER: _ClassVar[int]
        overlap: _duration_pb2.Duration
        def __init__(self, overlap: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...
    class Revoke(_message.Message):
        __slots__ = ("reason",)
        REASON_FIELD_NUMBER: _ClassVar[int]
        reason: _key_pb2.Key.RevocationReason
        def __init__(self, reason: _Optional[_Union[_key_pb2.Key.RevocationReason, str]] = ...) -> None: ...
    class Disable(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    class Enable(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    class Delete(_message.Message):
        __slots__ = ("force",)
        FORCE_FIELD_NUMBER: _ClassVar[int]
        force: bool
        def __init__(self, force: _Optional[bool] = ...) -> None: ...
    FILTER_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    ROTATE_FIELD_NUMBER: _ClassVar[int]
    REVOKE_FIELD_NUMBER: _ClassVar[int]
    DISABLE_FIELD_NUMBER: _ClassVar[int]
    ENABLE_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    MAX_KEYS_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    WAIT_TIME_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    filter: str
    update: ChangeKeysRequest.Update
    rotate: ChangeKeysRequest.Rotate
    revoke: ChangeKeysRequest.Revoke
    disable: ChangeKeysRequest.Disable
    enable: ChangeKeysRequest.Enable
    delete: ChangeKeysRequest.Delete
    max_keys: int
    validate_only: bool
    note: str
    wait_time: _duration_pb2.Duration
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, filter: _Optional[str] = ..., update: _Optional[_Union[ChangeKeysRequest.Update, _Mapping]] = ..., rotate: _Optional[_Union[ChangeKeysRequest.Rotate, _Mapping]] = ..., revoke: _Optional[_Union[ChangeKeysRequest.Revoke, _Mapping]] = ..., disable: _Optional[_Union[ChangeKeysRequest.Disable, _Mapping]] = ..., enable: _Optional[_Union[ChangeKeysRequest.Enable, _Mapping]] = ..., delete: _Optional[_Union[ChangeKeysRequest.Delete, _Mapping]] = ..., max_keys: _Optional[int] = ..., validate_only: _Optional[bool] = ..., note: _Optional[str] = ..., wait_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., names: _Optional[_Iterable[str]] = ...) -> None: ...

class ChangeKeysResponse(_message.Message):
    __slots__ = ("name", "key", "outcome", "api_key", "error", "confirmation", "reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    API_KEY_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CONFIRMATION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    key: _key_pb2.Key
    outcome: _key_pb2.ChangeOutcome
    api_key: str
    error: str
    confirmation: _key_pb2.Confirmation
    reason: str
    def __init__(self, name: _Optional[str] = ..., key: _Optional[_Union[_key_pb2.Key, _Mapping]] = ..., outcome: _Optional[_Union[_key_pb2.ChangeOutcome, _Mapping]] = ..., api_key: _Optional[str] = ..., error: _Optional[str] = ..., confirmation: _Optional[_Union[_key_pb2.Confirmation, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class ExportKeysRequest(_message.Message):
    __slots__ = ("filter",)
    FILTER_FIELD_NUMBER: _ClassVar[int]
    filter: str
    def __init__(self, filter: _Optional[str] = ...) -> None: ...

class ExportKeysResponse(_message.Message):
    __slots__ = ("key", "unreadable")
    KEY_FIELD_NUMBER: _ClassVar[int]
    UNREADABLE_FIELD_NUMBER: _ClassVar[int]
    key: _key_pb2.Key
    unreadable: UnreadableKey
    def __init__(self, key: _Optional[_Union[_key_pb2.Key, _Mapping]] = ..., unreadable: _Optional[_Union[UnreadableKey, _Mapping]] = ...) -> None: ...

class ImportKeysRequest(_message.Message):
    __slots__ = ("entries", "validate_only", "note")
    class Past(_message.Message):
        __slots__ = ("status", "create_time", "expire_time")
        STATUS_FIELD_NUMBER: _ClassVar[int]
        CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
        EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
        status: _key_pb2.Key.Status
        create_time: _timestamp_pb2.Timestamp
        expire_time: _timestamp_pb2.Timestamp
        def __init__(self, status: _Optional[_Union[_key_pb2.Key.Status, str]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
    class Entry(_message.Message):
        __slots__ = ("api_key", "sha256", "key", "past")
        API_KEY_FIELD_NUMBER: _ClassVar[int]
        SHA256_FIELD_NUMBER: _ClassVar[int]
        KEY_FIELD_NUMBER: _ClassVar[int]
        PAST_FIELD_NUMBER: _ClassVar[int]
        api_key: str
        sha256: bytes
        key: _key_pb2.Key
        past: ImportKeysRequest.Past
        def __init__(self, api_key: _Optional[str] = ..., sha256: _Optional[bytes] = ..., key: _Optional[_Union[_key_pb2.Key, _Mapping]] = ..., past: _Optional[_Union[ImportKeysRequest.Past, _Mapping]] = ...) -> None: ...
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[ImportKeysRequest.Entry]
    validate_only: bool
    note: str
    def __init__(self, entries: _Optional[_Iterable[_Union[ImportKeysRequest.Entry, _Mapping]]] = ..., validate_only: _Optional[bool] = ..., note: _Optional[str] = ...) -> None: ...

class ImportKeysResponse(_message.Message):
    __slots__ = ("outcomes",)
    class Outcome(_message.Message):
        __slots__ = ("name", "already_there", "error_field", "error")
        NAME_FIELD_NUMBER: _ClassVar[int]
        ALREADY_THERE_FIELD_NUMBER: _ClassVar[int]
        ERROR_FIELD_FIELD_NUMBER: _ClassVar[int]
        ERROR_FIELD_NUMBER: _ClassVar[int]
        name: str
        already_there: bool
        error_field: str
        error: str
        def __init__(self, name: _Optional[str] = ..., already_there: _Optional[bool] = ..., error_field: _Optional[str] = ..., error: _Optional[str] = ...) -> None: ...
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[ImportKeysResponse.Outcome]
    def __init__(self, outcomes: _Optional[_Iterable[_Union[ImportKeysResponse.Outcome, _Mapping]]] = ...) -> None: ...
