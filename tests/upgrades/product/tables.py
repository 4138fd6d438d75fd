"""The tables of the product."""

from sqlalchemy import Column, ForeignKey, MetaData, Table, Text

from db.tables import Instant, users

metadata = MetaData()

bookmarks = Table(
    "bookmarks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user_id", Text, ForeignKey(users.c.id, ondelete="CASCADE"), nullable=False),
    Column("url", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
)
