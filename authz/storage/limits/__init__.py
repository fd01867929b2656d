"""Limits in the store: counted by the sidecars, read and reset for administration."""
