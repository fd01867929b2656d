"""Limits and usage on a cluster under faults: never over, and counted once."""
