"""The tables of the product. They have a metadata of their own, apart from Latchkey's."""

from sqlalchemy import Column, ForeignKey, MetaData, Table, Text, UniqueConstraint

from db.tables import Instant, users

metadata = MetaData()

bookmarks = Table(
    "bookmarks",
    metadata,
    Column("id", Text, primary_key=True),
    # The bookmarks of an account are deleted with it.
    Column("user_id", Text, ForeignKey(users.c.id, ondelete="CASCADE"), nullable=False),
    Column("url", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    # Its index also finds the bookmarks of a user.
    UniqueConstraint("user_id", "url", name="bookmarks_user_id_url"),
)
