"""Short-lived tokens: their text, the rights that they carry, and the times of signing keys."""
