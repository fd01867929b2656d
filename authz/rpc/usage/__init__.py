"""The listener for usage: log entries of Envoy over OTLP."""
