"""The endpoints of the product."""
