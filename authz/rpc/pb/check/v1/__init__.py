"""Messages generated from proto/authz/check/v1. Do not edit: `make proto` writes them."""
