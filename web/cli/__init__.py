"""The command line: `latchkey …`."""
