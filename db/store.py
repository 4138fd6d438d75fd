"""The store: the database, the key rings, the clock and the random source.

Every function that receives the store can query the database, so only few modules use it.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar, cast

from databases import Database
from sqlalchemy import FromClause, Select, select

import db.engine  # noqa: F401  (registers the back ends with `databases`)
from db.clock import monotonic_clock
from db.crypto.breached_passwords import BreachedPasswords
from db.crypto.encrypted_tokens import EncryptedTokens
from db.crypto.identity_keys import IdentityKeys
from db.crypto.key_ring import KeyRing
from db.crypto.macs import MacKeys, derive_key
from db.crypto.passwords import Passwords
from db.crypto.secret import Secret
from db.crypto.stored_secrets import StoredSecrets
from db.database import LazyDatabase, WriteCheck
from db.engine.statement import Bound
from db.factor_settings import FactorSettings
from db.mail.state import OutboxState
from db.organizations.settings import OrganizationSettings
from db.product import ProductData
from db.providers.provider import Provider
from db.providers.providers import Providers
from db.rate_limits.limits import RateLimit
from db.rate_limits.recent import LimiterState, Mode
from db.sessions.lifetimes import SessionLifetimes

T = TypeVar("T")


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, repr=False)
class Store:
    """The dependencies of the data layer in one object, so that a test can supply its own clock and
    random source.

    Its `repr` is disabled because it would show nothing useful and could show secrets.
    """

    database: Database
    keys: KeyRing
    device_keys: KeyRing
    audit_keys: MacKeys
    bucket_keys: MacKeys
    mail_keys: MacKeys
    identity_keys: IdentityKeys
    doctor_keys: MacKeys
    encrypted_tokens: EncryptedTokens
    factor_secrets: StoredSecrets
    client_secrets: StoredSecrets
    passwords: Passwords
    breached_passwords: BreachedPasswords
    limiter: LimiterState
    strategy: Literal["database", "stateless"] = "database"
    now: Callable[[], datetime] = utc_now
    # Returns n random bytes as URL-safe text.
    token: Callable[[int], str] = field(default=secrets.token_urlsafe)
    write_check: WriteCheck = field(default_factory=WriteCheck)
    providers: Providers = field(default_factory=lambda: Providers((), utc_now))
    outbox: OutboxState = field(default_factory=OutboxState)
    product: ProductData = field(default_factory=ProductData)
    lifetimes: SessionLifetimes = field(default_factory=SessionLifetimes)
    factors: FactorSettings = field(default_factory=FactorSettings)
    organizations: OrganizationSettings = field(default_factory=OrganizationSettings)
    # Held for each statement of an export, so that parallel exports never delay other requests.
    export_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def one(self, statement: Bound[T]) -> T | None:
        """Returns the first row as the statement's DTO, or None if there is no row."""
        row = await self.database.fetch_one(cast(Any, statement))
        return None if row is None else _to_dto(statement, row)

    async def all(self, statement: Bound[T]) -> list[T]:
        """Returns every row as the statement's DTO."""
        return [
            _to_dto(statement, row) for row in await self.database.fetch_all(cast(Any, statement))
        ]

    async def value(self, statement: Bound[Any]) -> Any:
        """Returns the first column of the first row, or None if there is no row."""
        row = await self.database.fetch_one(cast(Any, statement))
        return None if row is None else row[0]

    async def count(self, statement: Bound[Any]) -> int:
        """Executes a statement without RETURNING and returns the number of rows that it changed."""
        return int(await self.database.execute(cast(Any, statement)))

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """Returns a context manager that commits at its end and rolls back on an exception.

        On SQLite it holds the only writer, so slow work must stay outside of it.
        """
        return cast(AbstractAsyncContextManager[Any], self.database.transaction())


def pick(into: type[T], table: FromClause, /, **expressions: Any) -> Select[T]:
    """Returns a SELECT of the columns of `table` that the dataclass `into` names.

    A keyword argument replaces the column of that name by an SQL expression. The dataclass is the
    SELECT list (the guide: "only return the necessary data"), so a column without a field is never
    read.
    """
    columns = [
        (expressions[name] if name in expressions else table.c[name]).label(name)
        for name in _names(into)
    ]
    return cast("Select[T]", select(*columns).execution_options(into=into))


def _to_dto(statement: Bound[T], row: Iterable[Any]) -> T:
    into = statement.statement.into
    return cast(T, row) if into is None else into(*row)


def _names(into: type) -> list[str]:
    return [field.name for field in fields(into)]


def make_store(
    database: Secret[str],
    secrets: Sequence[Secret[bytes]],
    *,
    strategy: Literal["database", "stateless"] = "database",
    encrypted: bool = False,
    rate_limits: Mode = "enforce",
    changed_limits: Iterable[RateLimit] = (),
    passwords: Passwords | None = None,
    breached_passwords: str = "",
    outbox: OutboxState | None = None,
    product: ProductData | None = None,
    lifetimes: SessionLifetimes | None = None,
    factors: FactorSettings | None = None,
    providers: Sequence[Provider] = (),
    organizations: OrganizationSettings | None = None,
    now: Callable[[], datetime] = utc_now,
) -> Store:
    """Returns a store for the database at this URL; the database is not connected yet.

    `secrets` are the application's secrets, the current one first. `now` is the clock of every part
    of the store. `changed_limits` replace the limits of the same names. `breached_passwords` is the
    URL of the breached-password service; without one, passwords are not looked up. `outbox` says
    whether mails are sent; by default none are. `product` is the data part of a product,
    `lifetimes` are those of sessions, `factors` the settings of second steps and passkeys,
    `providers` the identity providers to log in with, and `organizations` the settings of
    organizations.
    """
    now = monotonic_clock(now)
    device_secrets = [derive_key(secret, "device cookie") for secret in secrets]
    return Store(
        database=LazyDatabase(database.reveal()),
        keys=KeyRing(secrets, lambda: now().timestamp(), encrypted=encrypted),
        device_keys=KeyRing(device_secrets, lambda: now().timestamp(), encrypted=encrypted),
        audit_keys=MacKeys(secrets, "audit trail"),
        bucket_keys=MacKeys(secrets, "buckets"),
        mail_keys=MacKeys(secrets, "mail links"),
        identity_keys=IdentityKeys(secrets),
        doctor_keys=MacKeys(secrets, "doctor"),
        encrypted_tokens=EncryptedTokens(secrets, lambda: now().timestamp()),
        factor_secrets=StoredSecrets(secrets, "factor secrets"),
        client_secrets=StoredSecrets(secrets, "client secrets"),
        passwords=passwords or Passwords(),
        breached_passwords=BreachedPasswords(breached_passwords),
        limiter=LimiterState(rate_limits, changed_limits),
        strategy=strategy,
        now=now,
        outbox=outbox or OutboxState(),
        product=product or ProductData(),
        lifetimes=lifetimes or SessionLifetimes(),
        factors=factors or FactorSettings(),
        providers=Providers(providers, now),
        organizations=organizations or OrganizationSettings(),
    )
