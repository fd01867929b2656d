from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLE_UNSPECIFIED: _ClassVar[Role]
    ROLE_VIEWER: _ClassVar[Role]
    ROLE_ISSUER: _ClassVar[Role]
    ROLE_ADMIN: _ClassVar[Role]
    ROLE_AUDITOR: _ClassVar[Role]
ROLE_UNSPECIFIED: Role
ROLE_VIEWER: Role
ROLE_ISSUER: Role
ROLE_ADMIN: Role
ROLE_AUDITOR: Role

class RoleBinding(_message.Message):
    __slots__ = ("role", "tenant_ids", "project_ids")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    TENANT_IDS_FIELD_NUMBER: _ClassVar[int]
    PROJECT_IDS_FIELD_NUMBER: _ClassVar[int]
    role: Role
    tenant_ids: _containers.RepeatedScalarFieldContainer[str]
    project_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, role: _Optional[_Union[Role, str]] = ..., tenant_ids: _Optional[_Iterable[str]] = ..., project_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class WhoAmIRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WhoAmIResponse(_message.Message):
    __slots__ = ("subject", "bindings", "method")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    BINDINGS_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    subject: str
    bindings: _containers.RepeatedCompositeFieldContainer[RoleBinding]
    method: str
    def __init__(self, subject: _Optional[str] = ..., bindings: _Optional[_Iterable[_Union[RoleBinding, _Mapping]]] = ..., method: _Optional[str] = ...) -> None: ...

class GetInstallationRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetInstallationResponse(_message.Message):
    __slots__ = ("version", "key_prefix", "plans", "older_key_prefixes", "imported_prefixes", "key_header", "key_scheme", "public_key_prefix")
    class Plan(_message.Message):
        __slots__ = ("plan", "limits")
        PLAN_FIELD_NUMBER: _ClassVar[int]
        LIMITS_FIELD_NUMBER: _ClassVar[int]
        plan: str
        limits: _containers.RepeatedScalarFieldContainer[str]
        def __init__(self, plan: _Optional[str] = ..., limits: _Optional[_Iterable[str]] = ...) -> None: ...
    VERSION_FIELD_NUMBER: _ClassVar[int]
    KEY_PREFIX_FIELD_NUMBER: _ClassVar[int]
    PLANS_FIELD_NUMBER: _ClassVar[int]
    OLDER_KEY_PREFIXES_FIELD_NUMBER: _ClassVar[int]
    IMPORTED_PREFIXES_FIELD_NUMBER: _ClassVar[int]
    KEY_HEADER_FIELD_NUMBER: _ClassVar[int]
    KEY_SCHEME_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_PREFIX_FIELD_NUMBER: _ClassVar[int]
    version: str
    key_prefix: str
    plans: _containers.RepeatedCompositeFieldContainer[GetInstallationResponse.Plan]
    older_key_prefixes: _containers.RepeatedScalarFieldContainer[str]
    imported_prefixes: _containers.RepeatedScalarFieldContainer[str]
    key_header: str
    key_scheme: str
    public_key_prefix: str
    def __init__(self, version: _Optional[str] = ..., key_prefix: _Optional[str] = ..., plans: _Optional[_Iterable[_Union[GetInstallationResponse.Plan, _Mapping]]] = ..., older_key_prefixes: _Optional[_Iterable[str]] = ..., imported_prefixes: _Optional[_Iterable[str]] = ..., key_header: _Optional[str] = ..., key_scheme: _Optional[str] = ..., public_key_prefix: _Optional[str] = ...) -> None: ...
