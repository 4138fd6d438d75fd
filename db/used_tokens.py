"""The encrypted tokens that were used: each of them may be used once."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import bindparam

from db.engine.statement import Statement, insert
from db.store import Store
from db.tables import Instant, used_tokens

USE_TOKEN: Final = Statement(
    insert(used_tokens)
    .values(id=bindparam("id"), kept_until=bindparam("kept_until", type_=Instant))
    .on_conflict_do_nothing()
    .returning(used_tokens.c.id)
)


async def use_token(store: Store, claims: Mapping[str, Any]) -> bool:
    """Marks a decrypted token as used, and returns False if it already was.

    The primary key decides between concurrent uses. Must run in the transaction of what the token
    allows, so that a failure leaves it unused.
    """
    kept_until = datetime.fromtimestamp(claims["exp"], UTC)
    return await store.value(USE_TOKEN(id=claims["jti"], kept_until=kept_until)) is not None
