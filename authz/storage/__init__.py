"""Everything that knows Redis. Nothing here knows gRPC or HTTP.

This package imports redis-py first, without OpenTelemetry. If redis-py finds OpenTelemetry, it
imports the SDK for metrics of its own. Nobody reads those metrics, and each command would wait for
the import.
"""

import sys

_TELEMETRY = "opentelemetry"

if _TELEMETRY not in sys.modules:
    # While a module's entry is None, its import raises ImportError.
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        import redis.asyncio  # noqa: F401
    finally:
        del sys.modules[_TELEMETRY]
