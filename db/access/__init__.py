"""The data access layer: the type of a function's first parameter says who may call it."""
