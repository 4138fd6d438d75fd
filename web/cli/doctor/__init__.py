"""Contains the command `latchkey doctor`, which looks for mistakes in a deployment."""
