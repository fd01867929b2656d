"""The admin API over HTTP and JSON, made from the same annotations as its gRPC form (AIP-127)."""
