"""The data access layer.

The type of a function's first parameter says who may call it: Store for any client, Viewer, Admin
or Operator.
"""
