"""Contains one module of endpoints per feature. Endpoints call `db.access` and return responses."""
