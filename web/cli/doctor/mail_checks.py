"""Contains the checks of mail: the SMTP server, and the DNS records of the sender's domain."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final
from urllib.parse import urlsplit

from db.ip_addresses import is_loopback
from web.cli.doctor.findings import Finding, error, ok, warning
from web.mail.smtp import SmtpTransport
from web.settings.mail_settings import mail_domain
from web.settings.settings import Settings

COMMAND_SECONDS: Final = 5.0
DNS_SECONDS: Final = 4.0

# Returns the TXT records of a domain, or None if the domain does not exist. Raises OSError.
ReadTexts = Callable[[str], list[str] | None]


async def check_mail(settings: Settings, read_texts: ReadTexts) -> AsyncIterator[Finding]:
    if settings.mail is None:
        if settings.has_mailbox:
            yield ok("mail", "kept in the development mailbox at /dev/mailbox")
        return  # Without a mailbox, the settings have a warning.
    transport = SmtpTransport(
        settings.mail,
        settings.mail_from.email,
        mail_domain(urlsplit(settings.base_url).hostname or ""),
        command_seconds=COMMAND_SECONDS,
        attempt_seconds=COMMAND_SECONDS,
    )
    if problem := await transport.find_problem():
        yield error("mail", f"{problem}: correct SMTP_URL, or start the server")
    else:
        yield ok("mail", f"{settings.mail.host} accepts the connection and the log-in")
    yield await _check_sender(settings.mail_from.email, read_texts)


async def _check_sender(email: str, read_texts: ReadTexts) -> Finding:
    domain = email.rpartition("@")[2]
    if domain.startswith("[") or is_loopback(domain):
        return warning("sender", f"the domain of MAIL_FROM is {domain}: most servers refuse it")
    try:
        texts = await asyncio.to_thread(read_texts, domain)
    except OSError:
        return warning("sender", f"not checked: DNS does not answer about {domain}")
    if texts is None:
        return error("sender", f"the domain {domain} of MAIL_FROM does not exist: correct it")
    if not any(text.lower().startswith("v=spf1") for text in texts):
        return warning(
            "sender",
            f"{domain} has no SPF record, so mails end in spam: add a TXT record that allows the "
            "SMTP server",
        )
    return ok("sender", f"{email}; {domain} has an SPF record")


def read_texts_from_dns(domain: str) -> list[str] | None:
    """Returns the TXT records of a domain, or None if it does not exist. Raises OSError."""
    import dns.exception
    import dns.resolver

    try:
        records = dns.resolver.resolve(domain, "TXT", lifetime=DNS_SECONDS)
    except dns.resolver.NXDOMAIN:
        return None
    except dns.resolver.NoAnswer:
        return []
    except dns.exception.DNSException as problem:
        raise OSError(str(problem)) from problem
    return [b"".join(record.strings).decode("latin-1") for record in records]
