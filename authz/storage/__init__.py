"""Everything that knows Redis. Nothing here knows gRPC or HTTP.

redis-py is imported here first, without OpenTelemetry. If redis-py finds that, it imports the SDK
for metrics of its own. Nobody reads those, and each command would wait for the import.
"""

import sys

_UNUSED = "opentelemetry"

if _UNUSED not in sys.modules:
    # As long as a name is None, an import of it raises ImportError.
    sys.modules[_UNUSED] = None  # type: ignore[assignment]
    try:
        import redis.asyncio  # noqa: F401
    finally:
        del sys.modules[_UNUSED]
