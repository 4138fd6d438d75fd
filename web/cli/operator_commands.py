"""Contains the commands `latchkey users` and `latchkey audit`.

Each `prepare_` function validates the arguments like a form, before the database is opened. It
returns the task and raises CommandError, PasswordInputError and NotFound.
"""

import argparse
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

from db.access import audit, operator
from db.access.audit import OperatorEntry
from db.audit.messages import read_detail
from db.errors import NotFound
from db.viewer import Operator
from web.cli.terminal import read_password
from web.forms.form import Form
from web.forms.password_policy import PASSWORD_POLICIES
from web.forms.schemas import SignUp
from web.observability.logs import printable
from web.rendering.formatting import plural
from web.settings.settings import Settings

OperatorTask = Callable[[Operator], Awaitable[None]]


class Argument:
    """An argument of a command: its name or flag, and the options of argparse."""

    def __init__(self, name: str, **options: Any) -> None:
        self.name = name
        self.options = options


@dataclass(frozen=True, slots=True)
class OperatorCommand:
    """A row of a table of commands.

    `prepare` validates the arguments and returns the task. A command that `writes` audit entries
    needs the secret of the service.
    """

    name: str
    help: str
    prepare: Callable[[argparse.Namespace, Settings], OperatorTask]
    arguments: tuple[Argument, ...]
    writes: bool = True


class CommandError(Exception):
    """Raised when a command cannot be run or a verification fails. The message has the reason."""


def prepare_user_creation(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    typed = {"name": options.name, "email": options.email, "password": read_password(options.stdin)}
    form = Form.check(SignUp, typed, PASSWORD_POLICIES[settings.password_policy])
    data = form.data
    if data is None:
        raise CommandError(" ".join(chain.from_iterable(form.errors.values())))

    async def create(caller: Operator) -> None:
        user_id = await operator.create_user(
            caller, name=data.name, email=data.email, password=data.password, role=options.role
        )
        if user_id is None:
            raise CommandError("An account with this email already exists.")
        print(f"created {data.email} with the role {options.role}")

    return create


def prepare_role_change(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    email = canonical_email(options.email)

    async def change(caller: Operator) -> None:
        await operator.set_user_role(caller, email, options.role)
        print(f"{options.email} has the role {options.role} from their next request on")

    return change


def prepare_password_change(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    typed = {"email": options.email, "password": read_password(options.stdin)}
    form = Form.check_field(SignUp, "password", typed, PASSWORD_POLICIES[settings.password_policy])
    if form.data is None:
        raise CommandError(" ".join(form.errors["password"]))
    email = canonical_email(options.email)
    password = form.data.password

    async def change(caller: Operator) -> None:
        ended = await operator.set_user_password(caller, email, password)
        if settings.stateless:
            sessions = "every session was"
        else:
            sessions = f"{ended} {plural(ended, 'session was', 'sessions were')}"
        print(f"the password was changed, and {sessions} ended")

    return change


def prepare_user_list(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    async def show(caller: Operator) -> None:
        for user in await operator.list_users(caller):
            state = "disabled" if user.disabled_at else user.role
            print(printable(f"{user.created_at:%Y-%m-%d}  {state:<8}  {user.email}  {user.name}"))

    return show


async def require_same_audit_keys(caller: Operator) -> None:
    """Raises CommandError if the service authenticates its audit log with another secret.

    Entries of this process would break the hash chain.
    """
    if problem := await operator.find_audit_problem(caller):
        raise CommandError(f"nothing was changed: {problem}")


def prepare_entry_list(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    email = canonical_email(options.user) if options.user else ""
    event = options.event or ""
    if not re.fullmatch(r"[1-9][0-9]{0,5}", options.limit):
        raise CommandError("--limit must be a whole number from 1 to 999999")

    async def show(caller: Operator) -> None:
        if event and event not in audit.known_events(caller):
            raise CommandError(f"there is no event {printable(event)}")
        entries = await audit.list_newest(
            caller, email=email, event=event, limit=int(options.limit)
        )
        for entry in entries:
            print(_json_line(entry) if options.json else printable(_entry_line(entry)))

    return show


def _entry_line(entry: OperatorEntry) -> str:
    actor = entry.actor_email or entry.actor_id or entry.actor_type
    target = entry.target_email or entry.target_id or ""
    about = f" -> {target}" if target and target != actor else ""
    client = f"  {entry.ip_address}  {entry.browser}".rstrip()
    return (
        f"{entry.number}  {entry.at:%Y-%m-%d %H:%M:%S}  {entry.event} {entry.outcome}  "
        f"{actor}{about}{client}  {entry.detail}"
    ).rstrip()


def _json_line(entry: OperatorEntry) -> str:
    values = asdict(entry) | {"at": entry.at.isoformat(), "detail": read_detail(entry.detail)}
    return json.dumps(values)


def prepare_verification(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    kept = _head(options.head) if options.head else None

    async def verify(caller: Operator) -> None:
        verdict = await audit.verify_log(caller, kept)
        if verdict.problem:
            raise CommandError(verdict.problem)
        print(f"{verdict.entries} entries verified")
        print(f"head: {verdict.head.number}:{verdict.head.mac}")

    return verify


def _head(text: str) -> tuple[int, str]:
    found = re.fullmatch(r"(?:head: )?([1-9][0-9]{0,9}):([0-9a-f]{64})", text.strip())
    if found is None:
        raise CommandError("--head must be NUMBER:MAC, as `latchkey audit verify` printed it")
    return int(found[1]), found[2]


def canonical_email(email: str) -> str:
    """Returns the email in its stored form. Raises NotFound for an invalid email."""
    form = Form.check_field(SignUp, "email", {"email": email})
    if form.data is None:
        raise NotFound
    return form.data.email
