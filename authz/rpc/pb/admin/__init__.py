"""Messages generated from proto/authz/admin. Do not edit: `make proto` writes them."""
