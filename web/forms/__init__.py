"""Contains forms, fields, schemas and password rules."""
