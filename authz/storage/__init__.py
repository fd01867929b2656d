"""Everything that knows Redis. Nothing here knows gRPC or HTTP."""
