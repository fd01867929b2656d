"""Messages generated from proto/authz/usage. Do not edit: `make proto` writes them."""
