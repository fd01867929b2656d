"""The audit trail: sealing, verification, lists and copies."""
