"""Short-lived tokens: the exchange of a key for a token, and the acceptance of tokens by a gate."""
