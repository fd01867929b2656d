import datetime

from authz.rpc.pb.admin.v1 import key_pb2 as _key_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SigningKey(_message.Message):
    __slots__ = ("name", "state", "create_time", "sign_time", "verify_until_time", "pepper")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[SigningKey.State]
        STATE_NEXT: _ClassVar[SigningKey.State]
        STATE_SIGNS: _ClassVar[SigningKey.State]
        STATE_VERIFIES: _ClassVar[SigningKey.State]
        STATE_EXPIRED: _ClassVar[SigningKey.State]
        STATE_UNREADABLE: _ClassVar[SigningKey.State]
    STATE_UNSPECIFIED: SigningKey.State
    STATE_NEXT: SigningKey.State
    STATE_SIGNS: SigningKey.State
    STATE_VERIFIES: SigningKey.State
    STATE_EXPIRED: SigningKey.State
    STATE_UNREADABLE: SigningKey.State
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    SIGN_TIME_FIELD_NUMBER: _ClassVar[int]
    VERIFY_UNTIL_TIME_FIELD_NUMBER: _ClassVar[int]
    PEPPER_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: SigningKey.State
    create_time: _timestamp_pb2.Timestamp
    sign_time: _timestamp_pb2.Timestamp
    verify_until_time: _timestamp_pb2.Timestamp
    pepper: str
    def __init__(self, name: _Optional[str] = ..., state: _Optional[_Union[SigningKey.State, str]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., sign_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., verify_until_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., pepper: _Optional[str] = ...) -> None: ...

class IssueTokenRequest(_message.Message):
    __slots__ = ("api_key", "scopes", "audience", "lifetime", "origin")
    API_KEY_FIELD_NUMBER: _ClassVar[int]
    SCOPES_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    LIFETIME_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    api_key: str
    scopes: _containers.RepeatedScalarFieldContainer[str]
    audience: str
    lifetime: _duration_pb2.Duration
    origin: str
    def __init__(self, api_key: _Optional[str] = ..., scopes: _Optional[_Iterable[str]] = ..., audience: _Optional[str] = ..., lifetime: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., origin: _Optional[str] = ...) -> None: ...

class IssueTokenResponse(_message.Message):
    __slots__ = ("access_token", "lifetime", "scopes", "token_id")
    ACCESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    LIFETIME_FIELD_NUMBER: _ClassVar[int]
    SCOPES_FIELD_NUMBER: _ClassVar[int]
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    access_token: str
    lifetime: _duration_pb2.Duration
    scopes: _containers.RepeatedScalarFieldContainer[str]
    token_id: str
    def __init__(self, access_token: _Optional[str] = ..., lifetime: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., scopes: _Optional[_Iterable[str]] = ..., token_id: _Optional[str] = ...) -> None: ...

class InspectTokenRequest(_message.Message):
    __slots__ = ("token",)
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    token: str
    def __init__(self, token: _Optional[str] = ...) -> None: ...

class InspectTokenResponse(_message.Message):
    __slots__ = ("accepted", "reason", "claims", "key_name", "key", "has_secret")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CLAIMS_FIELD_NUMBER: _ClassVar[int]
    KEY_NAME_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    HAS_SECRET_FIELD_NUMBER: _ClassVar[int]
    accepted: bool
    reason: str
    claims: _struct_pb2.Struct
    key_name: str
    key: _key_pb2.Key
    has_secret: bool
    def __init__(self, accepted: _Optional[bool] = ..., reason: _Optional[str] = ..., claims: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., key_name: _Optional[str] = ..., key: _Optional[_Union[_key_pb2.Key, _Mapping]] = ..., has_secret: _Optional[bool] = ...) -> None: ...

class ListSigningKeysRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListSigningKeysResponse(_message.Message):
    __slots__ = ("signing_keys",)
    SIGNING_KEYS_FIELD_NUMBER: _ClassVar[int]
    signing_keys: _containers.RepeatedCompositeFieldContainer[SigningKey]
    def __init__(self, signing_keys: _Optional[_Iterable[_Union[SigningKey, _Mapping]]] = ...) -> None: ...

class RotateSigningKeyRequest(_message.Message):
    __slots__ = ("at_once", "request_id", "validate_only", "note")
    AT_ONCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    at_once: bool
    request_id: str
    validate_only: bool
    note: str
    def __init__(self, at_once: _Optional[bool] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ..., note: _Optional[str] = ...) -> None: ...

class RotateSigningKeyResponse(_message.Message):
    __slots__ = ("signing_key",)
    SIGNING_KEY_FIELD_NUMBER: _ClassVar[int]
    signing_key: SigningKey
    def __init__(self, signing_key: _Optional[_Union[SigningKey, _Mapping]] = ...) -> None: ...

class DeleteSigningKeyRequest(_message.Message):
    __slots__ = ("name", "validate_only", "note")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    name: str
    validate_only: bool
    note: str
    def __init__(self, name: _Optional[str] = ..., validate_only: _Optional[bool] = ..., note: _Optional[str] = ...) -> None: ...

class DeleteSigningKeyResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
