"""Contains the server process: start, HTTP protocol and shutdown."""
