"""Contains the commands `latchkey mail …` and `latchkey hooks …`."""

import argparse
import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from db.access import operator_mail
from db.access.operator_mail import OutboxMessage
from db.mail.outbox import EVENT_TYPES, MAIL_TYPES, EventType, MessageType
from db.viewer import Operator
from web.cli.argument_checks import canonical_email, canonical_new_email
from web.cli.command_settings import read_command_settings
from web.cli.commands import (
    Argument,
    Command,
    CommandError,
    CommandGroup,
    OneOrAll,
    OperatorCommand,
    OperatorTask,
)
from web.delivery.channel import Attempt
from web.mail.rendering import MailRenderer
from web.mail.smtp import SmtpTransport
from web.observability.logs import printable
from web.product import Product, load_chosen_product
from web.rendering.formatting import plural
from web.settings.mail_settings import MailSettings, mail_domain
from web.settings.settings import Settings

# Shorter than those of the delivery, because the operator is waiting.
TEST_COMMAND_SECONDS: Final = 15.0
TEST_ATTEMPT_SECONDS: Final = 45.0
ID_PATTERN: Final = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class OutboxPart:
    """The messages of the outbox that a group of commands is about."""

    group: str
    noun: str
    types: Sequence[MessageType | EventType]


MAILS: Final = OutboxPart("mail", "mail", MAIL_TYPES)
EVENTS: Final = OutboxPart("hooks", "message", EVENT_TYPES)


def protect_ids(arguments: list[str]) -> list[str]:
    """Returns the arguments with `--` before an id that begins with a hyphen.

    argparse would take the id for an option.
    """
    if arguments[:1] not in ([MAILS.group], [EVENTS.group]):
        return arguments
    protected: list[str] = []
    for argument in arguments:
        if argument.startswith("-") and ID_PATTERN.fullmatch(argument):
            protected.append("--")
        protected.append(argument)
    return protected


def prepare_mail_list(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    email = canonical_email(options.to) if options.to else ""
    return partial(_list, MAILS, dead=options.dead, email=email)


def prepare_event_list(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    return partial(_list, EVENTS, dead=options.dead)


async def _list(part: OutboxPart, caller: Operator, *, dead: bool, email: str = "") -> None:
    for message in await operator_mail.list_messages(caller, part.types, dead=dead, email=email):
        print(printable(_line(message)))


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


def prepare_retry(
    part: OutboxPart, options: argparse.Namespace, settings: Settings
) -> OperatorTask:
    message_id = "" if options.all else _id(part, options)
    noun = part.noun

    async def retry(caller: Operator) -> None:
        if options.all:
            count = await operator_mail.retry_all_messages(caller, part.types)
            words = plural(count, f"{noun} is", f"{noun}s are")
            print(f"{count} {words} sent again within seconds")
        elif await operator_mail.retry_message(caller, message_id, part.types):
            print(f"the {noun} is sent again within seconds")
        else:
            raise CommandError(f"no failed {noun} has this id, or it has expired")

    return retry


def prepare_drop(part: OutboxPart, options: argparse.Namespace, settings: Settings) -> OperatorTask:
    message_id = _id(part, options)

    async def drop(caller: Operator) -> None:
        if not await operator_mail.drop_message(caller, message_id, part.types):
            raise CommandError(f"no unsent {part.noun} has this id")
        print(f"the {part.noun} was deleted")

    return drop


def _id(part: OutboxPart, options: argparse.Namespace) -> str:
    text: str = options.id
    if not ID_PATTERN.fullmatch(text):
        raise CommandError(f"the id has 43 characters, as `latchkey {part.group} list` prints it")
    return text


def run_mail_test(options: argparse.Namespace) -> None:
    """Sends a mail at once, without the outbox. Raises CommandError with the server's words."""
    settings = read_command_settings(options)
    product = load_chosen_product(settings)
    recipient = canonical_new_email(options.email)
    if settings.mail is None:
        raise CommandError("SMTP_URL is not set, so there is no server to test")
    attempt = asyncio.run(_send(settings, settings.mail, product, recipient))
    if attempt.outcome != "sent":
        raise CommandError(f"the mail was not sent: {printable(attempt.error)}")
    print(
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


def _commands_of(part: OutboxPart) -> tuple[OperatorCommand, ...]:
    """Returns the commands that `latchkey mail` and `latchkey hooks` have in common."""
    noun = part.noun
    return (
        OperatorCommand(
            "retry",
            f"send failed {noun}s again",
            partial(prepare_retry, part),
            (OneOrAll("id"),),
            writes=False,
        ),
        OperatorCommand(
            "drop",
            f"delete an unsent {noun}",
            partial(prepare_drop, part),
            (Argument("id"),),
            writes=False,
        ),
    )


DEAD: Final = Argument("--dead", action="store_true", help="only those that were given up")
COMMANDS: Final = (
    CommandGroup(
        MAILS.group,
        "mail",
        (
            OperatorCommand(
                "list",
                "list the mails of the outbox",
                prepare_mail_list,
                (DEAD, Argument("--to", metavar="EMAIL", help="only those to this email")),
                writes=False,
            ),
            *_commands_of(MAILS),
            Command(
                "test",
                "send a test mail and print the server's answer",
                run_mail_test,
                (Argument("email"),),
            ),
        ),
    ),
    CommandGroup(
        EVENTS.group,
        "hooks after a commit, and webhooks",
        (
            OperatorCommand(
                "list",
                "list the messages of the outbox",
                prepare_event_list,
                (DEAD,),
                writes=False,
            ),
            *_commands_of(EVENTS),
        ),
    ),
)
