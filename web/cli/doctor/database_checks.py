"""Contains the checks of the database: migrations, schema, clock and administrators."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Final
from urllib.parse import parse_qs, urlsplit

from db.access import diagnosis, operator, operator_factors, operator_organizations
from db.errors import Unavailable
from db.maintenance.revisions import WrongSchema, branches_of, require_single_head
from db.maintenance.schema import NO_ANSWER, require_schema
from db.product import ProductData
from db.viewer import Operator
from web.cli.doctor.findings import Finding, error, ok, warning
from web.settings.database_url import mask_password
from web.settings.settings import Settings

MAX_CLOCK_DIFFERENCE: Final = timedelta(seconds=1)
DEFAULT_POOL_SIZE: Final = 10  # the default of asyncpg's `max_size`


def check_migrations(product: ProductData) -> Iterator[Finding]:
    """Yields the findings about the files of migrations, without the database."""
    for branch in branches_of(product):
        try:
            require_single_head(branch)
        except WrongSchema as problem:
            yield error("migrations", str(problem))
        else:
            yield ok("migrations", f"the newest of {branch.name} is {branch.head or 'none'}")


async def check_database(
    caller: Operator, settings: Settings, product: ProductData
) -> AsyncIterator[Finding]:
    """Yields the findings about the content of the database. Connects the store of the caller."""
    url = mask_password(settings.database_url)
    try:
        await require_schema(settings.database_url, product)
        await diagnosis.connect(caller)
        yield ok("database", f"{url} answers, and has every table and column")
        yield await _check_admins(caller)
        async for finding in _check_factors(caller, settings):
            yield finding
        if problem := await operator.find_audit_problem(caller):
            yield warning(
                "audit log",
                f"{problem}: run this command with the SESSION_SECRET of the service",
            )
        if not url.startswith("sqlite"):
            for finding in _check_server(await diagnosis.read_server(caller), caller, settings):
                yield finding
    except WrongSchema as problem:
        yield error("database", f"{url}: {problem}")
    except Unavailable as problem:
        yield error("database", f"{url}: {problem.reason or NO_ANSWER}")


async def _check_admins(caller: Operator) -> Finding:
    count = await diagnosis.count_admins(caller)
    if count == 0:
        return warning(
            "administrators",
            "there is none: run `latchkey users create … --role admin` or `latchkey users role`",
        )
    return ok("administrators", str(count))


async def _check_factors(caller: Operator, settings: Settings) -> AsyncIterator[Finding]:
    """Yields the findings about passkeys, authenticator apps and REQUIRE_FACTOR."""
    if count := await operator_factors.count_unreadable_apps(caller):
        yield warning(
            "authenticator apps",
            f"no key decrypts the secrets of {count}: add the former secret to SESSION_SECRET, and "
            "run `latchkey factors rekey`, or reset these accounts with "
            "`latchkey users reset-factors`",
        )
    if count := await operator_organizations.count_unreadable_client_secrets(caller):
        yield warning(
            "organizations",
            f"no key decrypts the client secrets of {count}: add the former secret to "
            "SESSION_SECRET, and run `latchkey factors rekey`, or type them again on their pages",
        )
    if count := await operator_factors.count_other_passkeys(caller):
        yield warning(
            "passkeys",
            f"{count} were created for another domain and do not work here: check PASSKEY_RP_ID "
            "and BASE_URL",
        )
    if not settings.factors.requires_admin_factor:
        return
    if count := await operator_factors.count_admins_without_factor(caller):
        yield warning(
            "administrators",
            f"{count} without a second step cannot use the pages for administrators until they "
            "add one (REQUIRE_FACTOR=admins)",
        )
    else:
        yield ok("second steps", "every administrator has one")


def _check_server(
    facts: diagnosis.ServerFacts, caller: Operator, settings: Settings
) -> Iterator[Finding]:
    difference = facts.now - diagnosis.current_time(caller)
    if abs(difference) > MAX_CLOCK_DIFFERENCE:
        seconds = abs(difference).total_seconds()
        yield warning(
            "clock",
            f"the clocks of this machine and of the database server differ by {seconds:.0f} "
            "seconds: synchronize both (NTP)",
        )
    else:
        yield ok("clock", "the same as that of the database server, to within a second")
    if facts.encoding != "UTF8":
        yield error("database", f"its encoding is {facts.encoding}: create it with ENCODING 'UTF8'")
    query = parse_qs(urlsplit(settings.database_url.reveal()).query)
    pool = int(query.get("max_size", [str(DEFAULT_POOL_SIZE)])[0])
    if settings.workers * pool >= facts.max_connections:
        yield warning(
            "database",
            f"{settings.workers} processes can open {settings.workers * pool} connections, and the "
            f"server allows {facts.max_connections}: set ?max_size= in DATABASE_URL",
        )
