"""The modules that a command imports: a fast start, and no driver that it does not need."""

import os
import subprocess
import sys
from pathlib import Path

LIGHT = "import sys; from authz.cli.main import main; main(sys.argv[1:]); print(*sys.modules)"


def test_what_needs_no_store_starts_light(no_store: Path) -> None:
    """`--version` and a usage error import no driver, no validation and no event loop."""
    heavy = {"grpc", "starlette", "uvicorn", "redis", "yaml", "asyncio"}
    for arguments in (("--version",), ("nonsense",), ("--nonsense",)):
        done = subprocess.run(
            [sys.executable, "-c", LIGHT, *arguments], capture_output=True, text=True, check=True
        )
        assert not heavy & set(done.stdout.split())


def test_a_command_imports_only_what_it_needs(no_store: Path) -> None:
    """A command about keys imports no protobuf, no YAML, and no other command."""
    heavy = {"google.protobuf", "ruamel.yaml", "yaml", "opentelemetry", "pydantic"}
    heavy |= {"authz.core.paths"}
    other = {"authz.cli.importing", "authz.cli.verify", "authz.cli.rotate", "authz.cli.bulk"}
    (no_store / "authz-pepper-1").write_text("0" * 64)
    kid = "a" * 16
    for command in (
        *("list", f"show {kid}", f"revoke {kid}", f"history {kid}", f"limits {kid}"),
        *("export --client a", "issue --client a"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", LIGHT, "keys", *command.split()],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert "the store cannot be used" in done.stderr
        files = {"ruamel.yaml", "yaml"} if command.startswith("export") else set()
        assert not ((heavy | other) - files) & set(done.stdout.split()), command


def test_redis_py_hides_no_telemetry() -> None:
    """redis-py is imported without OpenTelemetry, which can be imported afterwards."""
    code = (
        "import sys, authz.storage.endpoint; assert 'opentelemetry' not in sys.modules;"
        "import opentelemetry.sdk.metrics"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_sidecar_imports_only_what_its_settings_need(no_store: Path) -> None:
    """The transport `fast` needs no grpcio, and metrics at /metrics need no OTLP exporter.

    Of its libraries it leaves out what they import for rare cases.
    """
    (no_store / "authz-pepper-1").write_text("0" * 64)
    build = (
        "import sys; from authz.settings.model import load;"
        "from authz.wiring.components import build;"
        "build(load(None, {'check': {'listen': '127.0.0.1:0', 'transport': sys.argv[1]}}), None);"
        "print(*(name for name, one in sys.modules.items() if vars(one).get('__spec__')))"
    )
    loaded = {}
    for transport in ("fast", "grpcio"):
        done = subprocess.run(
            [sys.executable, "-c", build, transport], capture_output=True, text=True, check=True
        )
        loaded[transport] = set(done.stdout.split())
    assert "grpc" in loaded["grpcio"]
    assert not {"grpc", "opentelemetry.exporter.otlp"} & loaded["fast"]
    late = {"google.protobuf.internal.python_message", "importlib.metadata", "logging.config"}
    assert not late & loaded["fast"]


def test_modules_that_are_loaded_at_their_first_use() -> None:
    """Each is whole when something asks for one of its names, however it was imported."""
    code = (
        "import sys, authz.storage, authz.console, authz.rpc, logging, importlib;"
        "from importlib import metadata;"
        "import importlib.metadata as same;"
        "assert same is metadata and metadata.__spec__ is None;"
        "assert metadata.version('redis') == metadata.distribution('redis').version;"
        "assert sys.modules['importlib.metadata'].version is metadata.version;"
        "from logging.config import dictConfig;"
        "assert logging.config.dictConfig is dictConfig;"
        "from google.protobuf.internal import python_message;"
        "assert python_message.GeneratedProtocolMessageType.__name__"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_protobuf_in_python() -> None:
    """Where protobuf has no implementation in C, its implementation in Python is loaded."""
    code = (
        "import authz.rpc;"
        "from google.protobuf.internal import api_implementation;"
        "assert api_implementation.Type() == 'python';"
        "from grpc_health.v1.health_pb2 import HealthCheckRequest;"
        "assert HealthCheckRequest(service='a').SerializeToString() == b'\\n\\x01a'"
    )
    with_python = os.environ | {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}
    subprocess.run([sys.executable, "-c", code], check=True, env=with_python)
