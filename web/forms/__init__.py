"""Forms: fields, schemas and password rules."""
