"""latchkey …: the program at the shell, and the only maker of an Operator."""

import argparse
import asyncio
import os
import secrets
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TextIO

from db.access import shell
from db.backup import NotDone, back_up, restore
from db.housekeeping import WrongSchema, migrate, refuse_wrong_schema, require_schema
from db.refusals import Busy, LastAdmin, NotFound
from db.viewer import ROLES, Operator
from web.app import open_store
from web.environment import BadSetting
from web.forms import Form
from web.policy import POLICIES
from web.schemas import SignUp
from web.settings import Settings, read_settings

SAYINGS: Final[Mapping[type[Exception], str]] = {
    Busy: "DATABASE_URL: the database does not answer",
    NotFound: "nobody has this address",
    LastAdmin: "this is the last administrator, who can be neither demoted nor disabled",
}


def main(arguments: list[str] | None = None, environ: Mapping[str, str] = os.environ, stdin: TextIO = sys.stdin) -> int:
    """Exit code: 0 done, 1 refused with one line that says why, 2 a wrong setting or a wrong call."""
    options = _parser().parse_args(arguments, argparse.Namespace(environ=environ, stdin=stdin))
    try:
        return options.run(options) or 0
    except (BadSetting, WrongSchema, NotDone) as problem:
        return _complain(str(problem), 2 if isinstance(problem, BadSetting) else 1)
    except (Busy, NotFound, LastAdmin) as refusal:
        return _complain(SAYINGS[type(refusal)], 1)
    except (BrokenPipeError, KeyboardInterrupt):
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="latchkey", description="The account front door of a web application.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _command(commands, "serve", "serve the application (settings: .env.example)", _serve)
    _command(commands, "migrate", "bring the database to this program's schema", _migrate)
    _command(commands, "backup", "copy the SQLite database, in use or not", _back_up).add_argument("file", type=Path)
    _command(commands, "restore", "put a backup in its place", _restore).add_argument("file", type=Path)
    _command(commands, "secret", "print a fresh SESSION_SECRET", _secret)
    _command(commands, "routes", "print every URL, who may ask for it, and its methods", _routes)
    people = commands.add_parser("users", help="people: create, list, role, set-password")
    users = people.add_subparsers(required=True, metavar="COMMAND")
    create = _command(users, "create", "create an account", _create_user)
    create.add_argument("--email", required=True)
    create.add_argument("--name", required=True)
    create.add_argument("--role", choices=ROLES, default="user")
    role = _command(users, "role", "change a person's role, from their next request on", _change_role)
    role.add_argument("email")
    role.add_argument("role", choices=ROLES)
    password = _command(users, "set-password", "set a password and end that person's sessions", _set_password)
    password.add_argument("email")
    for command in (create, password):
        command.add_argument("--password-stdin", action="store_true", required=True, help="read it from stdin")
    _command(users, "list", "list everybody", _list_users)
    return parser


def _command(commands: Any, name: str, help: str, run: Callable[[argparse.Namespace], int | None]) -> Any:
    parser = commands.add_parser(name, help=help, description=help)
    parser.set_defaults(run=run)
    return parser


def _serve(options: argparse.Namespace) -> int:
    from web.server import read_operation, serve

    settings, operation = _settings(options), read_operation(options.environ)
    asyncio.run(refuse_wrong_schema(settings.database_url))
    return serve(settings, operation)


def _migrate(options: argparse.Namespace) -> None:
    migrate(_settings(options).database_url)


def _back_up(options: argparse.Namespace) -> None:
    content = back_up(_settings(options).database_url, options.file)
    print(f"{options.file} holds {content.people} people and {content.sessions} sessions")


def _restore(options: argparse.Namespace) -> None:
    content, kept = restore(_settings(options).database_url, options.file, datetime.now(UTC))
    print(f"restored: {content.people} people and {content.sessions} sessions; replaced: {kept or 'nothing'}")
    print("next: `latchkey migrate`, then start the program; sessions that ended since the backup count again")


def _secret(options: argparse.Namespace) -> None:
    print(secrets.token_urlsafe(32))


def _routes(options: argparse.Namespace) -> None:
    from web.routes import access_table

    print(access_table())


def _create_user(options: argparse.Namespace) -> int | None:
    typed = {"name": options.name, "email": options.email, "password": _password(options)}
    settings = _settings(options)
    form = Form.check(SignUp, typed, POLICIES[settings.password_policy])
    data = form.data
    if data is None:
        return _complain(" ".join(sentence for errors in form.errors.values() for sentence in errors), 1)

    async def create(operator: Operator) -> int | None:
        user_id = await shell.create_user(
            operator, name=data.name, email=data.email, password=data.password, role=options.role
        )
        if user_id is None:
            return _complain("An account with this email already exists.", 1)
        print(f"{data.email} can log in now, as {options.role}")
        return None

    return _run(settings, create)


def _change_role(options: argparse.Namespace) -> int | None:
    async def change(operator: Operator) -> None:
        await shell.change_role(operator, _canonical(options.email), options.role)
        print(f"{options.email} is {options.role} from the next request on")

    return _run(_settings(options), change)


def _set_password(options: argparse.Namespace) -> int | None:
    settings = _settings(options)
    form = Form.check_field(SignUp, "password", {"password": _password(options)}, POLICIES[settings.password_policy])
    if form.data is None:
        return _complain(" ".join(form.errors["password"]), 1)
    password = form.data.password

    async def change(operator: Operator) -> None:
        ended = await shell.set_password(operator, _canonical(options.email), password)
        print(f"the password is set, and {ended} sessions are ended")

    return _run(settings, change)


def _list_users(options: argparse.Namespace) -> int | None:
    async def show(operator: Operator) -> None:
        for person in await shell.list_people(operator):
            state = "disabled" if person.disabled_at else person.role
            print(f"{person.created_at:%Y-%m-%d}  {state:<8}  {person.email}  {person.name}")

    return _run(_settings(options), show)


def _run(settings: Settings, work: Callable[[Operator], Awaitable[int | None]]) -> int | None:
    """Do some work as the operator, on a store that is opened for it."""

    async def run() -> int | None:
        store = open_store(settings)
        try:
            await require_schema(settings.database_url)
            await store.database.connect()
            return await work(Operator(store))
        finally:
            await store.database.disconnect()
            store.passwords.close()

    return asyncio.run(run())


def _settings(options: argparse.Namespace) -> Settings:
    settings = read_settings(options.environ)
    path = Path(settings.database_url.reveal().removeprefix("sqlite:///"))
    if path.parent.name == "data":
        path.parent.mkdir(exist_ok=True)
    return settings


def _canonical(email: str) -> str:
    """The address as it is stored; one that is no address is nobody's."""
    form = Form.check_field(SignUp, "email", {"email": email})
    if form.data is None:
        raise NotFound
    return form.data.email


def _password(options: argparse.Namespace) -> str:
    """The first line of standard input, as it is: trimmed of nothing but its line break."""
    return str(options.stdin.readline()).removesuffix("\n").removesuffix("\r")


def _complain(line: str, code: int) -> int:
    print(f"latchkey: {line}", file=sys.stderr)
    return code
