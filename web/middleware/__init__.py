"""Contains the ASGI middleware."""
