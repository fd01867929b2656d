"""The audit trail as rows: marks of their writers, checkpoints, and their verification."""
