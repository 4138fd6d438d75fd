"""Ends the sessions that a log-in at a provider has begun, after a log-out there."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Text, bindparam, cast, delete, or_, select, union_all

from db.crypto.encrypted_tokens import LIFETIMES
from db.engine.statement import Statement, insert
from db.sessions.provider_login import ProviderLogin
from db.store import Store
from db.tables import Instant, sessions, used_tokens, users


class _Statements:
    """The statements about the sessions that match a condition.

    The users are locked first, as by every change of sessions. A session that replaces another one
    at the same time is then found by the DELETE.
    """

    def __init__(self, *conditions: ColumnElement[bool]) -> None:
        user_ids = union_all(
            select(sessions.c.user_id).where(*conditions),
            select(cast(bindparam("user_id"), Text)),
        )
        self.lock_users = Statement(
            select(users.c.id)
            .where(users.c.id.in_(user_ids))
            .order_by(users.c.id)
            .with_for_update()
        )
        self.delete = Statement(delete(sessions).where(*conditions).returning(sessions.c.user_id))


_OF_SUBJECT: Final = sessions.c.provider_subject_hash == bindparam("subject_hash")
_OF_SID: Final = sessions.c.provider_sid_hash == bindparam("sid_hash")
# By whether the log-out has a subject and whether it has a `sid`.
STATEMENTS: Final[Mapping[tuple[bool, bool], _Statements]] = {
    (True, False): _Statements(_OF_SUBJECT),
    (False, True): _Statements(_OF_SID),
    (True, True): _Statements(_OF_SUBJECT, _OF_SID),
}
# A log-in waits in a cookie for its second step, or for the form that signs up.
MAX_WAIT: Final = max(LIFETIMES["claim"], LIFETIMES["identity"])
_kept_until = bindparam("kept_until", type_=Instant)
KEEP_END: Final = Statement(
    insert(used_tokens)
    .values(id=bindparam("id"), kept_until=_kept_until)
    .on_conflict_do_update(index_elements=["id"], set_={"kept_until": _kept_until})
)
FIND_END: Final = Statement(
    select(used_tokens.c.id)
    .where(
        or_(*(used_tokens.c.id == bindparam(name) for name in ("of_both", "of_subject", "of_sid"))),
        used_tokens.c.kept_until >= bindparam("earliest", type_=Instant),
    )
    .limit(1)
)


async def end_marked_sessions(
    store: Store, ended: ProviderLogin, *, user_id: str
) -> Mapping[str, int]:
    """Ends the sessions with this mark, and returns how many of each user there were.

    If both hashes are given, a session must have both; one of them may be empty. A log-in with this
    mark that waits for a form of its user ends as well. `user_id` is the account that has the
    identity, empty if it is unknown: a log-in that finishes at the same time is either seen here,
    or sees the end. Must run inside a transaction.
    """
    statements = STATEMENTS[bool(ended.subject_hash), bool(ended.sid_hash)]
    given = {"subject_hash": ended.subject_hash, "sid_hash": ended.sid_hash}
    values = {name: value for name, value in given.items() if value}
    await store.all(statements.lock_users(user_id=user_id, **values))
    deleted = await store.all(statements.delete(**values))
    kept_until = store.now() + MAX_WAIT
    await store.count(KEEP_END(id=_end_id(ended), kept_until=kept_until))
    return Counter(str(user_id) for (user_id,) in deleted)


async def has_ended(store: Store, login: ProviderLogin, began_at: datetime) -> bool:
    """Returns whether a log-in that waits for a form was ended at the provider since it began.

    An end is kept for as long as a log-in can wait.
    """
    found = FIND_END(
        of_both=_end_id(login),
        of_subject=_end_id(ProviderLogin(login.subject_hash, "")),
        of_sid=_end_id(ProviderLogin("", login.sid_hash or "none")),
        earliest=began_at + MAX_WAIT,
    )
    return await store.value(found) is not None


def _end_id(login: ProviderLogin) -> str:
    return f"provider-logout:{login.subject_hash}:{login.sid_hash}"
