"""Usage: log entries of Envoy as counts per key."""
