"""Audit trails in memory, and ways to falsify them."""
