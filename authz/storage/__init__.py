"""Everything that knows Redis. Nothing here knows gRPC or HTTP.

This package imports redis-py first, without OpenTelemetry. If redis-py finds OpenTelemetry, it
imports the SDK for metrics of its own. Nobody reads those metrics, and each command would wait for
the import. It reads its version with `importlib.metadata` (2 MB) for clients that tell the store,
which ours do not.
"""

import sys

from authz.process.late_imports import import_late

_TELEMETRY = "opentelemetry"

import_late("importlib.metadata")

if _TELEMETRY not in sys.modules:
    # While a module's entry is None, its import raises ImportError.
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        import redis.asyncio  # noqa: F401
    finally:
        del sys.modules[_TELEMETRY]
