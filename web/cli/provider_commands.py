"""Contains the command `latchkey providers check`."""

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from db.errors import ProviderUnavailable
from db.providers.provider import Provider
from db.providers.providers import Providers
from db.store import utc_now
from web.cli.commands import Argument, Command, CommandError, CommandGroup
from web.observability.logs import printable
from web.settings.settings import read_settings

if TYPE_CHECKING:
    from db.providers.client import ProviderDocuments
    from db.providers.metadata import Metadata

# ID tokens are accepted with this difference of clocks.
MAX_CLOCK_DIFFERENCE: Final = timedelta(seconds=60)
NOTED_CLOCK_DIFFERENCE: Final = timedelta(seconds=5)
REASONS: Final = {
    "unreachable": "no connection: check the issuer, DNS, the firewall and the certificate",
    "timeout": "no complete answer within the time limit",
    "metadata_issuer": "its metadata names another issuer: copy `issuer` from there exactly",
    "metadata_endpoint": "its metadata has an endpoint that is missing or no https URL",
    "no_json": "the answer is not JSON: check the issuer",
    "no_object": "the answer is no JSON object: check the issuer",
    "private_host": "an endpoint has a private IP address, and the issuer has not",
    "private_issuer": "a host has a private IP address: an operator may set it in PROVIDERS",
    "status_404": "there is no metadata at this issuer (status 404)",
}


def run_check(options: argparse.Namespace) -> int:
    """Prints what each provider publishes. Returns 1 if users cannot log in with one of them."""
    settings = read_settings(options.environ, make_secret=False)
    if not settings.providers:
        raise CommandError("PROVIDERS is not set")
    providers = Providers(settings.providers, utc_now)
    chosen = [one for one in providers.all if options.provider in (None, one.name)]
    if not chosen:
        names = ", ".join(one.name for one in providers.all)
        raise CommandError(f"PROVIDERS has no {options.provider}; it has {names}")
    results = [asyncio.run(print_findings(provider, providers.check)) for provider in chosen]
    return 0 if all(results) else 1


async def print_findings(
    provider: Provider, fetch: Callable[[Provider], Awaitable["ProviderDocuments"]]
) -> bool:
    """Prints the findings about one provider. Returns whether users can log in with it.

    `fetch` returns what the provider publishes, or raises ProviderUnavailable.
    """
    print(f"{provider.name}: {provider.issuer}")
    print(f"  redirect URI to register  {provider.redirect_uri}")
    if provider.protocol == "openid":
        print(f"  back-channel logout URI   {provider.logout_uri}")
    try:
        documents = await fetch(provider)
    except ProviderUnavailable as error:
        print(f"  problem                   {REASONS.get(error.code, error.code)}")
        return False
    if provider.protocol == "github":
        print("  endpoints                 fixed, so there is nothing to check")
        return True
    problems = list(_find_problems(documents))
    for title, value in _describe(documents):
        # The organization chooses its provider, not the operator at this terminal.
        print(f"  {title:<24}  {printable(value)}")
    for problem in problems:
        print(f"  problem                   {problem}")
    return not problems


def _describe(documents: "ProviderDocuments") -> Iterator[tuple[str, str]]:
    metadata = documents.metadata
    yield "authorization endpoint", metadata.authorization_endpoint
    yield "algorithms", ", ".join(metadata.algorithms) or "not published"
    has_pkce = "S256" in metadata.challenge_methods
    yield "PKCE", "S256" if has_pkce else "S256 is not published; it is sent nevertheless"
    yield "client authentication", metadata.auth_method
    yield "back-channel logout", _describe_logout(metadata)
    yield "keys", str(documents.key_count)
    yield "clock", _describe_clock(documents.clock_difference)


def _describe_logout(metadata: "Metadata") -> str:
    if not metadata.has_back_channel_logout:
        return "not published"
    return "supported" if metadata.names_sessions else "supported, without `sid`"


def _describe_clock(difference: timedelta | None) -> str:
    if difference is None:
        return "unknown"
    if abs(difference) < NOTED_CLOCK_DIFFERENCE:
        return "correct"
    seconds = round(difference.total_seconds())
    return f"{abs(seconds)} s {'ahead of' if seconds > 0 else 'behind'} this machine"


def _find_problems(documents: "ProviderDocuments") -> Iterator[str]:
    # This module would otherwise import Authlib for every command.
    from db.providers.id_token import ALGORITHMS

    published = documents.metadata.algorithms
    if published and not set(published) & set(ALGORITHMS):
        yield f"no algorithm that Latchkey accepts: {', '.join(ALGORITHMS)}"
    if not documents.key_count:
        yield "no key that Latchkey can use"
    difference = documents.clock_difference
    if difference is not None and abs(difference) > MAX_CLOCK_DIFFERENCE:
        yield "the clocks differ by more than 60 s, so ID tokens are refused"


COMMANDS: Final = (
    CommandGroup(
        "providers",
        "log-in with identity providers",
        (
            Command(
                "check",
                "fetch what each provider publishes, and print the redirect URI to register",
                run_check,
                (Argument("provider", nargs="?", help="the name of one provider"),),
            ),
        ),
    ),
)
