"""Contains the commands `latchkey mail …`, `latchkey hooks …` and `latchkey users verify`.

`options.types` are the types of messages that a command is about, and `options.noun` is their name.
"""

import argparse
import asyncio
import re
from typing import Final
from urllib.parse import urlsplit

from db.access import operator_mail
from db.access.operator_mail import OutboxMessage
from db.errors import NotFound
from db.viewer import Operator
from web.cli.operator_commands import CommandError, OperatorTask, canonical_email
from web.delivery.channel import Attempt
from web.mail.rendering import MailRenderer
from web.mail.smtp import SmtpTransport
from web.observability.logs import printable
from web.product import Product
from web.rendering.formatting import plural
from web.settings.mail_settings import MailSettings, mail_domain
from web.settings.settings import Settings

# Shorter than those of the delivery, because the operator is waiting.
TEST_COMMAND_SECONDS: Final = 15.0
TEST_ATTEMPT_SECONDS: Final = 45.0
ID_PATTERN: Final = re.compile(r"[A-Za-z0-9_-]{43}")


def protect_ids(arguments: list[str]) -> list[str]:
    """Returns the arguments with `--` before an id that begins with a hyphen.

    argparse would take the id for an option.
    """
    if arguments[:1] not in (["mail"], ["hooks"]):
        return arguments
    protected: list[str] = []
    for argument in arguments:
        if argument.startswith("-") and ID_PATTERN.fullmatch(argument):
            protected.append("--")
        protected.append(argument)
    return protected


def prepare_list(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    email = canonical_email(options.to) if options.to else ""

    async def show(caller: Operator) -> None:
        messages = await operator_mail.list_messages(
            caller, options.types, dead=options.dead, email=email
        )
        for message in messages:
            print(printable(_line(message)))

    return show


def _line(message: OutboxMessage) -> str:
    if message.sent_at is not None:
        state = "sent"
    else:
        state = "dead" if message.due_at is None else "waiting"
    attempts = f"{message.attempts} {plural(message.attempts, 'attempt', 'attempts')}"
    recipient = message.recipient or "(recipient deleted)"
    line = (
        f"{message.created_at:%Y-%m-%d %H:%M}  {message.id}  {state:<7}  "
        f"{message.message_type:<10}  {recipient}  {attempts}"
    )
    return f"{line}  {message.error}" if message.error else line


def prepare_retry(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    message_id = "" if options.all else _id(options)
    noun = options.noun

    async def retry(caller: Operator) -> None:
        if options.all:
            count = await operator_mail.retry_all_messages(caller, options.types)
            words = plural(count, f"{noun} is", f"{noun}s are")
            print(f"{count} {words} sent again within seconds")
        elif await operator_mail.retry_message(caller, message_id, options.types):
            print(f"the {noun} is sent again within seconds")
        else:
            raise CommandError(f"no failed {noun} has this id, or it has expired")

    return retry


def prepare_drop(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    message_id = _id(options)

    async def drop(caller: Operator) -> None:
        if not await operator_mail.drop_message(caller, message_id, options.types):
            raise CommandError(f"no unsent {options.noun} has this id")
        print(f"the {options.noun} was deleted")

    return drop


def prepare_verification_of_email(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    email = "" if options.all else canonical_email(options.email)

    async def verify(caller: Operator) -> None:
        if options.all:
            count = await operator_mail.verify_all_emails(caller)
            print(f"{count} {plural(count, 'email was', 'emails were')} confirmed")
        elif await operator_mail.verify_email(caller, email):
            print(f"{options.email} was confirmed")
        else:
            print(f"{options.email} was confirmed before; nothing was changed")

    return verify


def send_test_mail(settings: Settings, product: Product, to: str) -> str:
    """Sends a mail at once, without the outbox, and returns the sentence about it.

    Raises CommandError with the server's words.
    """
    try:
        recipient = canonical_email(to)
    except NotFound:
        raise CommandError(f"not an email: {printable(to)}") from None
    if settings.mail is None:
        raise CommandError("SMTP_URL is not set, so there is no server to test")
    attempt = asyncio.run(_send(settings, settings.mail, product, recipient))
    if attempt.outcome != "sent":
        raise CommandError(f"the mail was not sent: {printable(attempt.error)}")
    return (
        f"{settings.mail.host} accepted a mail from {settings.mail_from.email} to {recipient}; "
        "look in the inbox, and in spam"
    )


async def _send(
    settings: Settings, server: MailSettings, product: Product, recipient: str
) -> Attempt:
    transport = SmtpTransport(
        server,
        settings.mail_from.email,
        mail_domain(urlsplit(settings.base_url).hostname or ""),
        command_seconds=TEST_COMMAND_SECONDS,
        attempt_seconds=TEST_ATTEMPT_SECONDS,
    )
    try:
        renderer = MailRenderer(settings, product.brand, product.find_folder("partials"))
        return await transport.send(renderer.build_test(recipient), recipient)
    finally:
        await transport.close()


def _id(options: argparse.Namespace) -> str:
    text: str = options.id
    if not ID_PATTERN.fullmatch(text):
        raise CommandError(f"the id has 43 characters, as `{options.list_command}` prints it")
    return text
