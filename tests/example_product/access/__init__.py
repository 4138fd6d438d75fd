"""The data access layer of the product. Its functions take the caller first."""
