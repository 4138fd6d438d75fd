"""Contains the HTTP layer: requests, cookies, forms and htmx. SQL belongs in `db`."""
