"""The pages of the console. Each page is made from answers of the REST API."""
