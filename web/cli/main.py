"""Contains the commands of `latchkey`. Only this module creates an Operator."""

import argparse
import asyncio
import io
import os
import secrets
import sys
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NoReturn, TextIO

from db.errors import LastAdmin, NotFound, Unavailable
from db.maintenance.atomic_files import BackupError
from db.maintenance.backup import back_up, restore
from db.maintenance.database_files import make_file_private, make_private, path_of
from db.maintenance.schema import (
    NO_ANSWER,
    WrongSchema,
    migrate,
    migrate_if_needed,
    require_schema,
    require_schema_if_reachable,
)
from db.viewer import ROLES, Operator
from web.app import open_store
from web.cli import mail_commands, operator_commands, setting_commands, user_commands
from web.cli.operator_commands import CommandError, OperatorCommand, OperatorTask
from web.cli.terminal import PasswordInputError, discard_output, set_encodings
from web.settings.env_file import load_env_file
from web.settings.environment import InvalidSetting
from web.settings.paths import DATA
from web.settings.settings import Settings, read_settings

COMMAND_ERROR_TEXTS: Final[Mapping[type[Exception], str]] = {
    NotFound: "no user with this email",
    LastAdmin: (
        "the last administrator can't be demoted, disabled or deleted: "
        "make someone else an administrator first"
    ),
}


def main(
    arguments: list[str] | None = None,
    environ: MutableMapping[str, str] = os.environ,
    stdin: TextIO | None = sys.stdin,
    env_file: Path | None = None,
) -> int:
    """Runs a command and returns the exit code. Prints one line about an error.

    The variables of `env_file` are added to `environ`, so that worker processes inherit them. The
    code is 0 for success, 1 for a failure or wrong arguments, and 2 for an invalid setting.
    """
    os.umask(0o077)  # Other users of the machine must not read created files.
    stdin = stdin or io.StringIO()  # sys.stdin is None if it was closed.
    set_encodings(stdin)
    arguments = mail_commands.protect_ids(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(
        arguments, argparse.Namespace(environ=environ, stdin=stdin, env_file=env_file)
    )
    try:
        if env_file is not None:
            load_env_file(env_file, environ)
        code = options.run(options) or 0
        sys.stdout.flush()
        return code
    except (InvalidSetting, WrongSchema, BackupError, CommandError, PasswordInputError) as problem:
        return _print_error(str(problem), 2 if isinstance(problem, InvalidSetting) else 1)
    except Unavailable as error:
        return _print_error(f"DATABASE_URL: {error.reason or NO_ANSWER}", 1)
    except (NotFound, LastAdmin) as error:
        return _print_error(COMMAND_ERROR_TEXTS[type(error)], 1)
    except KeyboardInterrupt:
        return 1
    except OSError as error:
        return _print_os_error(error)


class _Parser(argparse.ArgumentParser):
    """argparse's parser, which prints an error as one line without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(1, f"{self.prog}: {message} (see --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="latchkey", description="Serves Latchkey, and manages its database and users."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = _command(commands, "serve", "serve the application (settings: .env.example)", _serve)
    serve.add_argument("--migrate", action="store_true", help="apply database migrations first")
    _command(commands, "migrate", "apply database migrations", _migrate)
    _command(
        commands, "backup", "back up the SQLite database, even while it is in use", _back_up
    ).add_argument("file", type=Path)
    _command(
        commands, "restore", "replace the SQLite database with a backup", _restore
    ).add_argument("file", type=Path)
    _command(commands, "secret", "print a new SESSION_SECRET", _secret)
    _command(
        commands, "routes", "print every route: its methods, its path and who may use it", _routes
    )
    _command(
        commands,
        "limits",
        "print every rate limit: its variable, its value and the default",
        _limits,
    )
    _add_operator_commands(commands)
    _add_mail_commands(commands)
    return parser


def _add_operator_commands(commands: Any) -> None:
    """Adds the commands that need an Operator.

    Each has a `prepare` function, which validates the arguments and returns the task.
    """
    users_commands = commands.add_parser(
        "users",
        help="users: create, list, role, set-password, set-email, verify, disable, enable, delete, "
        "import, export",
    )
    users = users_commands.add_subparsers(required=True, metavar="COMMAND")
    create = _operator_command(
        users, "create", "create an account", operator_commands.prepare_user_creation
    )
    create.add_argument("--email", required=True)
    create.add_argument("--name", required=True)
    create.add_argument("--role", choices=ROLES, default="user")
    role = _operator_command(
        users,
        "role",
        "change a user's role, effective at their next request",
        operator_commands.prepare_role_change,
    )
    role.add_argument("email")
    role.add_argument("role", choices=ROLES)
    password = _operator_command(
        users,
        "set-password",
        "set a password and end that user's sessions",
        operator_commands.prepare_password_change,
    )
    password.add_argument("email")
    for parser in (create, password):
        parser.add_argument(
            "--password-stdin",
            action="store_true",
            required=True,
            help="read it from standard input",
        )
    _operator_command(
        users, "list", "list all users", operator_commands.prepare_user_list, writes=False
    )
    verify_email = _operator_command(
        users,
        "verify",
        "confirm an email, or those of all users",
        mail_commands.prepare_verification_of_email,
    )
    _add_one_or_all(verify_email, "email")
    for command in user_commands.COMMANDS:
        _add_from_table(users, command)
    audit = commands.add_parser("audit", help="the audit log: verify")
    audit_commands = audit.add_subparsers(required=True, metavar="COMMAND")
    verify = _operator_command(
        audit_commands,
        "verify",
        "check that no entry was changed, added or removed",
        operator_commands.prepare_verification,
        writes=False,
    )
    verify.add_argument(
        "--head",
        metavar="NUMBER:MAC",
        help="a head printed earlier: check that it is still in the log",
    )


def _add_mail_commands(commands: Any) -> None:
    mail_commands_parser = commands.add_parser("mail", help="mail: list, retry, drop, test")
    mail = mail_commands_parser.add_subparsers(required=True, metavar="COMMAND")
    listing = _operator_command(
        mail, "list", "list the mails of the outbox", mail_commands.prepare_list, writes=False
    )
    listing.add_argument("--dead", action="store_true", help="only those that were given up")
    listing.add_argument("--to", metavar="EMAIL", help="only those to this email")
    retry = _operator_command(
        mail, "retry", "send failed mails again", mail_commands.prepare_retry, writes=False
    )
    _add_one_or_all(retry, "id")
    _operator_command(
        mail, "drop", "delete an unsent mail", mail_commands.prepare_drop, writes=False
    ).add_argument("id")
    _command(
        mail, "test", "send a test mail and print the server's answer", _mail_test
    ).add_argument("email")


def _add_one_or_all(parser: Any, name: str) -> None:
    """Adds a positional argument and `--all`, of which exactly one must be given."""
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument(name, nargs="?")
    group.add_argument("--all", action="store_true")


def _command(
    commands: Any, name: str, help: str, run: Callable[[argparse.Namespace], int | None]
) -> Any:
    parser = commands.add_parser(name, help=help, description=help)
    parser.set_defaults(run=run)
    return parser


def _operator_command(
    commands: Any,
    name: str,
    help: str,
    prepare: Callable[..., OperatorTask],
    *,
    writes: bool = True,
) -> Any:
    parser = _command(commands, name, help, _run_as_operator)
    parser.set_defaults(prepare=prepare, writes=writes)
    return parser


def _add_from_table(commands: Any, command: OperatorCommand) -> None:
    parser = _operator_command(
        commands, command.name, command.help, command.prepare, writes=command.writes
    )
    for argument in command.arguments:
        parser.add_argument(argument.name, **argument.options)


def _serve(options: argparse.Namespace) -> int:
    from web.server.runner import serve
    from web.settings.server_settings import read_server_settings

    settings = read_settings(options.environ, make_secret=True)
    server_settings = read_server_settings(options.environ)
    notices = [*settings.notices, *_protect_files(settings)]
    if options.env_file is not None:
        notices.append(f"settings were also read from {options.env_file}")
    settings = replace(settings, notices=tuple(notices))
    if options.migrate:
        migrate_if_needed(settings.database_url)
    else:
        asyncio.run(require_schema_if_reachable(settings.database_url))
    return serve(settings, server_settings)


def _migrate(options: argparse.Namespace) -> None:
    migrate(_settings(options).database_url)


def _back_up(options: argparse.Namespace) -> None:
    content = back_up(_settings(options).database_url, options.file)
    print(f"backed up {content.users} users and {content.sessions} sessions to {options.file}")


def _restore(options: argparse.Namespace) -> None:
    content, kept = restore(_settings(options).database_url, options.file, datetime.now(UTC))
    print(
        f"restored {content.users} users and {content.sessions} sessions; "
        f"replaced database: {kept or 'none'}"
    )
    print(
        "next: run `latchkey migrate`, then start the program; sessions that ended since "
        "the backup are valid again"
    )


def _secret(options: argparse.Namespace) -> None:
    print(secrets.token_urlsafe(32))


def _routes(options: argparse.Namespace) -> None:
    from web.routes import access_table

    print(access_table())


def _limits(options: argparse.Namespace) -> None:
    for line in setting_commands.list_limits(options.environ):
        print(line)


def _mail_test(options: argparse.Namespace) -> None:
    print(mail_commands.send_test_mail(_settings(options), options.email))


def _run_as_operator(options: argparse.Namespace) -> None:
    """Validates the arguments, opens the store and runs the command.

    A command that writes audit entries first requires the audit keys of the service. Only then may
    it create a missing session secret.
    """
    settings = _settings(options)
    task = options.prepare(options, settings)
    if options.writes:
        asyncio.run(_as_operator(settings, operator_commands.require_same_audit_keys))
        settings = _settings(options, make_secret=True)
    asyncio.run(_as_operator(settings, task))


async def _as_operator(settings: Settings, task: OperatorTask) -> None:
    store = open_store(settings)
    try:
        await require_schema(settings.database_url)
        await store.database.connect()
        await task(Operator(store))
    finally:
        await store.database.disconnect()
        store.passwords.close()


def _settings(options: argparse.Namespace, *, make_secret: bool = False) -> Settings:
    settings = read_settings(options.environ, make_secret=make_secret)
    for warning in _protect_files(settings):
        print(f"latchkey: {warning}", file=sys.stderr)
    return settings


def _protect_files(settings: Settings) -> list[str]:
    """Restricts `data/` and the database files to this user. Returns warnings.

    Earlier versions may have created them with a wider mode.
    """
    path = path_of(settings.database_url)
    if path is None:
        return []
    if path.parent == DATA:
        DATA.mkdir(mode=0o700, exist_ok=True)
    return [*filter(None, [make_file_private(DATA)]), *make_private(path)]


def _print_os_error(error: OSError) -> int:
    """Prints an error about a file or about standard output. Returns the exit code.

    Prints nothing if the reader of standard output has ended (EPIPE).
    """
    if error.filename is None:
        discard_output()
    if isinstance(error, BrokenPipeError):
        return 1
    return _print_error(f"{error.filename or 'output'}: {error.strerror}", 1)


def _print_error(line: str, code: int) -> int:
    print(f"latchkey: {line}", file=sys.stderr)
    return code
