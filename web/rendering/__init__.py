"""Contains templates, layouts and functions that build responses."""
