"""Messages generated from proto/authz/usage/v1. Do not edit: `make proto` writes them."""
