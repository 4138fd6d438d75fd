"""HTTP. Knows requests, cookies, forms and htmx; writes no SQL, sees no password hash."""
