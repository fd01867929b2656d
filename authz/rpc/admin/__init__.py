"""The admin API: its services, and the listener that serves them over gRPC."""
