"""Short-lived tokens: the exchange of a key for a token, and their acceptance by a sidecar."""
