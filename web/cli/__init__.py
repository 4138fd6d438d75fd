"""Contains the command line interface, `latchkey`."""
