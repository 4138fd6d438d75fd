"""One's own account: the profile, and the password."""

from dataclasses import dataclass, field

from sqlalchemy import bindparam, exists, func, literal, select, update

from db.engine.statement import Conflict, Statement
from db.refusals import NotLoggedIn
from db.secret import Secret
from db.sessions import Device, NewSession, end_all_sessions, require_live, start_session
from db.store import pick
from db.tables import users
from db.viewer import Viewer


@dataclass(frozen=True, slots=True)
class Account:
    """What one may see of oneself and, the team and the address apart, change."""

    name: str
    email: str
    slug: str
    phone: str
    team: str


@dataclass(frozen=True, slots=True)
class _Stored:
    password_hash: Secret[str] = field(repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "password_hash", Secret(self.password_hash))


ACCOUNT = Statement(pick(Account, users).where(users.c.id == bindparam("user_id")))
STORED = Statement(pick(_Stored, users).where(users.c.id == bindparam("user_id")))
SLUG_TAKEN = Statement(
    select(literal(1)).where(exists().where(users.c.slug == bindparam("slug"), users.c.id != bindparam("user_id")))
)
CHANGE_PROFILE = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"))
    .values({name: func.coalesce(bindparam(f"new_{name}"), users.c[name]) for name in ("name", "slug", "phone")})
    .returning(users.c.id)
)


CHANGE_PASSWORD = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"), users.c.password_hash == bindparam("verified_hash"))
    .values(password_hash=bindparam("new_hash"))
    .returning(users.c.id)
)


async def get_account(viewer: Viewer) -> Account:
    account: Account | None = await viewer.store.one(ACCOUNT(user_id=viewer.id))
    if account is None:
        raise NotLoggedIn(ended=True)
    return account


async def slug_taken(viewer: Viewer, slug: str) -> bool:
    """Whether the page address is another person's. A slug is public, so this always answers."""
    return await viewer.store.value(SLUG_TAKEN(slug=slug, user_id=viewer.id)) is not None


async def change_profile(
    viewer: Viewer, *, name: str | None = None, slug: str | None = None, phone: str | None = None
) -> bool:
    """Change what is given and leave the rest; False, and nothing changed, where the slug is another person's."""
    try:
        changed = CHANGE_PROFILE(user_id=viewer.id, new_name=name, new_slug=slug, new_phone=phone)
        return await viewer.store.value(changed) is not None
    except Conflict:
        return False


async def change_password(
    viewer: Viewer, *, current: Secret[str], new: Secret[str], device: Device
) -> tuple[NewSession, int] | None:
    """A new session in place of this one, and how many others ended; None where `current` is not the password.

    Raises NotLoggedIn where this session has ended while the hashes were computed.
    """
    stored = await viewer.store.one(STORED(user_id=viewer.id))
    if stored is None or not await viewer.store.passwords.verify(stored.password_hash, current, member=True):
        return None
    verified, new_hash = stored.password_hash.reveal(), await _hash(viewer, new)
    async with viewer.store.transaction():
        changed = CHANGE_PASSWORD(user_id=viewer.id, verified_hash=verified, new_hash=new_hash)
        if await viewer.store.value(changed) is None:
            return None
        await require_live(viewer)
        ended = await end_all_sessions(viewer.store, viewer.id)
        return await start_session(viewer.store, viewer.id, viewer.role, device), max(0, ended - 1)


async def _hash(viewer: Viewer, password: Secret[str]) -> str:
    return (await viewer.store.passwords.hash(password, member=True)).reveal()
