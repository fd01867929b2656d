"""Usage in the store: counts that are added exactly once, and their reading."""
