"""latchkey users … and audit …: what the person at the shell may do, checked as a form is before
anything is opened.
"""

import argparse
import re
from collections.abc import Awaitable, Callable

from db.access import audit
from db.access import operator as shell
from db.errors import NotFound
from db.viewer import Operator
from web.cli.terminal import read_password
from web.forms.form import Form
from web.forms.password_policy import POLICIES
from web.forms.schemas import SignUp
from web.observability.logs import printable
from web.rendering.formatting import plural
from web.settings.settings import Settings

Work = Callable[[Operator], Awaitable[None]]


class NotSo(Exception):
    """What was asked for is not done, or what was hoped for is not so; the message says why."""


def create_user(options: argparse.Namespace, settings: Settings) -> Work:
    typed = {"name": options.name, "email": options.email, "password": read_password(options.stdin)}
    form = Form.check(SignUp, typed, POLICIES[settings.password_policy])
    data = form.data
    if data is None:
        raise NotSo(" ".join(sentence for errors in form.errors.values() for sentence in errors))

    async def create(operator: Operator) -> None:
        user_id = await shell.create_user(
            operator, name=data.name, email=data.email, password=data.password, role=options.role
        )
        if user_id is None:
            raise NotSo("An account with this email already exists.")
        print(f"created {data.email} with the role {options.role}")

    return create


def change_role(options: argparse.Namespace, settings: Settings) -> Work:
    email = _canonical(options.email)

    async def change(operator: Operator) -> None:
        await shell.change_role(operator, email, options.role)
        print(f"{options.email} has the role {options.role} from their next request on")

    return change


def set_password(options: argparse.Namespace, settings: Settings) -> Work:
    typed = {"email": options.email, "password": read_password(options.stdin)}
    form = Form.check_field(SignUp, "password", typed, POLICIES[settings.password_policy])
    if form.data is None:
        raise NotSo(" ".join(form.errors["password"]))
    email, password = _canonical(options.email), form.data.password

    async def change(operator: Operator) -> None:
        ended = await shell.set_password(operator, email, password)
        sessions = (
            "every session was"
            if settings.stateless
            else f"{ended} {plural(ended, 'session was', 'sessions were')}"
        )
        print(f"the password was changed, and {sessions} ended")

    return change


def list_users(options: argparse.Namespace, settings: Settings) -> Work:
    async def show(operator: Operator) -> None:
        for person in await shell.list_people(operator):
            state = "disabled" if person.disabled_at else person.role
            print(
                printable(
                    f"{person.created_at:%Y-%m-%d}  {state:<8}  {person.email}  {person.name}"
                )
            )

    return show


async def require_own_log(operator: Operator) -> None:
    """Raises NotSo if the service writes its audit log under another secret: entries written here
    would break it.
    """
    if problem := await shell.find_head_problem(operator):
        raise NotSo(f"nothing was changed: {problem}")


def verify_audit(options: argparse.Namespace, settings: Settings) -> Work:
    kept = _head(options.head) if options.head else None

    async def verify(operator: Operator) -> None:
        verdict = await audit.verify(operator, kept)
        if verdict.problem:
            raise NotSo(verdict.problem)
        print(f"{verdict.rows} entries verified")
        print(f"head: {verdict.head.number}:{verdict.head.seal}")

    return verify


def _head(text: str) -> tuple[int, str]:
    found = re.fullmatch(r"(?:head: )?([1-9][0-9]{0,9}):([0-9a-f]{64})", text.strip())
    if found is None:
        raise NotSo("--head must be NUMBER:MAC, as `latchkey audit verify` printed it")
    return int(found[1]), found[2]


def _canonical(email: str) -> str:
    """The address as it is stored; one that is no address is nobody's."""
    form = Form.check_field(SignUp, "email", {"email": email})
    if form.data is None:
        raise NotFound
    return form.data.email
