"""Contains the safe HTTP methods."""

from typing import Final

SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS", "TRACE")  # RFC 9110, section 9.2.1
