"""The flows of commands, over the admin API instead of the store."""
