"""Contains the checks of the settings, which read no database and no network."""

import os
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from db.ip_addresses import is_loopback
from web.cli.doctor.findings import Finding, error, ok, warning
from web.http.cookies import COOKIE_ATTRIBUTES, cookie_name
from web.server.dependency_check import find_unsafe
from web.settings.settings import Settings

LARGE_IPV4_PREFIX: Final = 8  # A network of a /7 or larger cannot consist of proxies only.
LARGE_IPV6_PREFIX: Final = 32


def check_settings(settings: Settings, cores: int | None = None) -> Iterator[Finding]:
    """Yields the findings about valid values that are rarely right for a public site."""
    warnings = [notice for notice in settings.notices if notice.startswith("warning: ")]
    for notice in warnings:
        yield warning("settings", notice.removeprefix("warning: "))
    if not warnings:
        yield ok("settings", f"valid; the site is {settings.public_url}")
    if unsafe := find_unsafe():
        yield error("packages", unsafe)
    yield from _check_proxies(settings)
    yield _check_cookies(settings)
    yield from _check_applications(settings)
    yield _check_hsts(settings)
    yield _check_workers(settings, cores or os.cpu_count() or 1)
    if settings.rate_limits != "enforce":
        yield warning(
            "rate limits",
            f"RATE_LIMITS={settings.rate_limits} refuses no attempt to guess a password: "
            "set it to enforce",
        )


def _check_proxies(settings: Settings) -> Iterator[Finding]:
    for network in settings.trusted_proxies:
        limit = LARGE_IPV4_PREFIX if network.version == 4 else LARGE_IPV6_PREFIX
        if network.prefixlen < limit:
            yield error(
                "proxy",
                f"TRUSTED_PROXIES={network} trusts every client, which can then choose its IP "
                "address and evade rate limits: name only the proxy",
            )
            return
    if settings.trusted_proxies:
        names = ", ".join(str(network) for network in settings.trusted_proxies)
        yield ok("proxy", f"X-Forwarded-For is read from {names}")
    elif settings.https or not is_loopback(settings.host):
        yield error(
            "proxy",
            "TRUSTED_PROXIES is not set, so all clients share the rate limits of the proxy: "
            "set it to the IP address that the proxy connects from",
        )
    else:
        yield ok("proxy", "none, because the site is on this machine only")


def _check_cookies(settings: Settings) -> Finding:
    text = f"{cookie_name(settings, 'session')}; {COOKIE_ATTRIBUTES}"
    text += "; Secure" if settings.https else "; not Secure, because BASE_URL is http"
    if domain := settings.forward.cookie_domain:
        text += f"; Domain={domain}, so every sub-domain of it receives the cookie"
    return ok("cookies", text)


def _check_applications(settings: Settings) -> Iterator[Finding]:
    """Yields the findings about the applications that a log-in may lead back to."""
    forward = settings.forward
    if targets := (*forward.return_paths, *forward.return_origins):
        yield ok("applications", f"a log-in may lead back to {', '.join(targets)}")
    # A browser sends the cookie of a sub-domain only below COOKIE_DOMAIN, so its user would be sent
    # to the log-in page at every request.
    for origin in forward.return_origins:
        host, domain = urlsplit(origin).hostname or "", forward.cookie_domain
        if not domain or not f".{host}".endswith(f".{domain}"):
            yield warning(
                "applications",
                f"{origin} does not receive the session cookie, because COOKIE_DOMAIN "
                f"{'is ' + domain if domain else 'is not set'}: it can only use identity tokens",
            )


def _check_hsts(settings: Settings) -> Finding:
    if settings.hsts != "off":
        return ok("HSTS", f"sent for the {settings.hsts} over https")
    if not settings.https or is_loopback(urlsplit(settings.base_url).hostname or ""):
        return ok("HSTS", "off, because the site is on this machine only")
    return warning(
        "HSTS", "HSTS=off: set it to host, unless the proxy sends Strict-Transport-Security"
    )


def _check_workers(settings: Settings, cores: int) -> Finding:
    is_file = settings.database_url.reveal().startswith("sqlite")
    if settings.workers > cores:
        return warning(
            "processes",
            f"WEB_CONCURRENCY={settings.workers} on {cores} cores: more processes than cores only "
            "use memory" + (", and wait for the one writer of SQLite" if is_file else ""),
        )
    database = "an SQLite file, so all of them must be on this machine" if is_file else "PostgreSQL"
    return ok("processes", f"{settings.workers} on {cores} cores, with {database}")
