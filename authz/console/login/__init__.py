"""Login to the console: its sessions in cookies, and the pages that open and end them."""
