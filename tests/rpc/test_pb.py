"""The messages that are generated from proto/, and those that are views of others."""

import importlib.util
from pathlib import Path

import pytest
from envoy.config.core.v3.base_pb2 import HeaderValue as EnvoyHeaderValue
from envoy.service.auth.v3.attribute_context_pb2 import AttributeContext
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest as Otlp,
)

from authz.rpc.pb.check.v1.check_view_pb2 import CheckView, HeaderValue, Peer
from authz.rpc.pb.usage.v1.otlp_logs_pb2 import ExportLogsServiceRequest

GENERATE = Path(__file__).parents[2] / "proto" / "generate.py"


def test_the_generated_modules_are_current():
    """`make proto` would write the same."""
    pytest.importorskip("grpc_tools")
    spec = importlib.util.spec_from_file_location("generate", GENERATE)
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    for name, content in generate.generate().items():
        assert (generate.GENERATED / name).read_bytes() == content, f"{name}: run `make proto`"


def fields(view: Descriptor, whole: Descriptor, path: str = ""):
    """Each field of a view, and the one of the same number of the message that it views."""
    for field in view.fields:
        other = whole.fields_by_number[field.number]
        name = f"{path}.{field.name}"
        yield name, field, other
        if field.message_type is not None:
            yield from fields(field.message_type, other.message_type, name)


FIELDS = [
    *fields(CheckView.DESCRIPTOR, CheckRequest.DESCRIPTOR),
    *fields(Peer.DESCRIPTOR, AttributeContext.Peer.DESCRIPTOR, "peer"),
    *fields(HeaderValue.DESCRIPTOR, EnvoyHeaderValue.DESCRIPTOR, "header"),
]
LENGTH_DELIMITED = {
    FieldDescriptor.TYPE_STRING,
    FieldDescriptor.TYPE_BYTES,
    FieldDescriptor.TYPE_MESSAGE,
}


@pytest.mark.parametrize(("name", "field", "other"), FIELDS, ids=[name for name, *_ in FIELDS])
def test_the_view_reads_the_same_bytes(name, field, other):
    """Same number, same name, same type on the wire; text and messages may be read as bytes."""
    assert field.name == other.name
    assert field.is_repeated == other.is_repeated
    as_bytes = field.type == FieldDescriptor.TYPE_BYTES and other.type in LENGTH_DELIMITED
    assert field.type == other.type or as_bytes


@pytest.mark.parametrize("name", ["method", "path", "host"])
def test_text_that_a_client_writes_is_bytes(name):
    """One byte that is not UTF-8 does not cost the whole message."""
    (field,) = [found for at, found, _ in FIELDS if at == f".attributes.request.http.{name}"]
    assert field.type == FieldDescriptor.TYPE_BYTES


LOG_FIELDS = list(fields(ExportLogsServiceRequest.DESCRIPTOR, Otlp.DESCRIPTOR))


@pytest.mark.parametrize(
    ("name", "field", "other"), LOG_FIELDS, ids=[name for name, *_ in LOG_FIELDS]
)
def test_the_view_of_log_records_reads_the_same_bytes(name, field, other):
    """Same number and type on the wire as in OpenTelemetry's messages; text is read as bytes."""
    text = {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES}
    assert field.is_repeated == other.is_repeated
    assert field.type == other.type or {field.type, other.type} == text
