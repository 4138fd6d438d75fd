"""Adds a search key to each user."""

import sqlalchemy as sa
from alembic import op

from db.user_search import search_key

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BATCH = 1000  # rows
users = sa.table("users", *(sa.column(name, sa.Text) for name in ("id", "name", "email", "search_key")))
NEXT = (
    sa.select(users.c.id, users.c.name, users.c.email)
    .where(users.c.id > sa.bindparam("after"))
    .order_by(users.c.id)
    .limit(BATCH)
)
FILL = sa.update(users).where(users.c.id == sa.bindparam("user_id")).values(search_key=sa.bindparam("key"))


def upgrade() -> None:
    op.add_column("users", sa.Column("search_key", sa.Text))
    connection, after = op.get_bind(), ""
    while rows := connection.execute(NEXT, {"after": after}).all():
        connection.execute(FILL, [{"user_id": id, "key": search_key(name, email)} for id, name, email in rows])
        after = rows[-1].id
