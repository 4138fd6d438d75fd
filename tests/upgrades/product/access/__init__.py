"""The data access of the product."""
