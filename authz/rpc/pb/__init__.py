"""Messages generated from proto/. Do not edit: `make proto` writes them."""
