"""Exactly-once counting through a real Envoy, while meters, store and links fail."""
