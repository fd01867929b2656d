"""Anomalies: hours of keys that differ from the earlier hours of the same key."""
