"""Usage: from batches of log entries to counts in the store."""
