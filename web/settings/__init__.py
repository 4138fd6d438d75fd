"""Contains the settings and the functions that read them from the environment."""
