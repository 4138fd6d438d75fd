"""Contains the queries of `latchkey doctor`, and its signed question to a service.

The service at BASE_URL answers only a question that was signed with a key of its own secret.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Integer, cast, func, literal_column, select

from db.engine.statement import Statement
from db.errors import Unavailable
from db.store import Store
from db.tables import Instant, users
from db.viewer import Operator

MAX_QUESTION_AGE_SECONDS: Final = 300


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The clock and two settings of a PostgreSQL server."""

    now: datetime
    encoding: str
    max_connections: int


COUNT_ADMINS = Statement(
    select(func.count()).where(users.c.role == "admin", users.c.disabled_at.is_(None))
)
READ_SERVER = Statement(
    select(
        literal_column("clock_timestamp()", Instant).label("now"),
        func.current_setting("server_encoding").label("encoding"),
        cast(func.current_setting("max_connections"), Integer).label("max_connections"),
    ).execution_options(into=ServerFacts)
)


def current_time(operator: Operator) -> datetime:
    """Returns the time of this machine, as the program uses it."""
    return operator.store.now()


async def connect(operator: Operator) -> None:
    """Connects the database, whose schema the caller has checked."""
    await operator.store.database.connect()


async def count_admins(operator: Operator) -> int:
    """Returns the number of administrators that are not disabled."""
    return int(await operator.store.value(COUNT_ADMINS()))


async def read_server(operator: Operator) -> ServerFacts:
    """Returns the facts of the PostgreSQL server."""
    facts: ServerFacts | None = await operator.store.one(READ_SERVER())
    if facts is None:
        raise Unavailable
    return facts


def sign_question(operator: Operator) -> str:
    """Returns the time, the id of a key and the MAC of the time, separated by dots."""
    store = operator.store
    time = str(int(store.now().timestamp()))
    return f"{time}.{store.doctor_keys.kid}.{store.doctor_keys.sign(time.encode())}"


def is_signed_question(store: Store, text: str) -> bool:
    """Returns whether a question was signed with a key of this store within the last 5 minutes."""
    time, _, rest = text.partition(".")
    kid, _, mac = rest.partition(".")
    if not (time.isascii() and time.isdecimal() and len(time) <= 12 and mac.isascii()):
        return False
    age = store.now().timestamp() - int(time)
    return abs(age) <= MAX_QUESTION_AGE_SECONDS and store.doctor_keys.verify(
        kid, time.encode(), mac
    )
