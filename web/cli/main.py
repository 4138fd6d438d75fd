"""Contains the commands of `latchkey`. Only this module creates an Operator."""

import argparse
import asyncio
import io
import os
import secrets
import sys
import traceback
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, TextIO

from db.errors import (
    LastAdmin,
    NotFound,
    Refused,
    RoleInUse,
    TooManyRoles,
    Unavailable,
    UnknownRole,
)
from db.mail.outbox import EVENT_TYPES, MAIL_TYPES
from db.maintenance.atomic_files import BackupError
from db.maintenance.backup import back_up, restore
from db.maintenance.database_files import make_file_private, make_private, path_of
from db.maintenance.revisions import WrongSchema, create_revision, product_branch
from db.maintenance.schema import (
    NO_ANSWER,
    Migration,
    migrate,
    migrate_if_needed,
    require_schema,
    require_schema_if_reachable,
)
from db.viewer import Operator
from web.app import check_events, open_store
from web.cli import (
    mail_commands,
    operator_commands,
    role_commands,
    setting_commands,
    user_commands,
)
from web.cli.operator_commands import CommandError, OperatorCommand, OperatorTask
from web.cli.terminal import PasswordInputError, discard_output, set_encodings
from web.observability.logs import printable
from web.product import FOLDER, NO_PRODUCT, Product, load_chosen_product, load_product
from web.product_checks import ProductError
from web.settings.database_url import mask_password
from web.settings.env_file import load_env_file
from web.settings.environment import Environment, InvalidSetting
from web.settings.paths import DATA, ROOT
from web.settings.settings import Settings, read_product_choice, read_settings
from web.settings.version import read_version
from web.settings.webhook_settings import make_webhook_secret

if TYPE_CHECKING:
    from web.cli.doctor.findings import Finding

COMMAND_ERROR_TEXTS: Final[Mapping[type[Exception], str]] = {
    NotFound: "no user with this email",
    LastAdmin: (
        "the last administrator can't be demoted, disabled or deleted: "
        "make someone else an administrator first"
    ),
    UnknownRole: "no role with this name: see `latchkey roles list`",
    RoleInUse: "a user or an invitation has this role",
    TooManyRoles: "there are too many roles",
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
    except ProductError as problem:
        _print_traceback(problem.__cause__)
        return _print_error(str(problem), 2)
    except tuple(COMMAND_ERROR_TEXTS) as error:
        return _print_error(COMMAND_ERROR_TEXTS[type(error)], 1)
    except Refused as refused:
        return _print_error(f"nothing was changed: {printable(refused.message)}", 1)
    except KeyboardInterrupt:
        return 1
    except OSError as error:
        return _print_os_error(error)


class _Parser(argparse.ArgumentParser):
    """argparse's parser, which prints an error as one line without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(1, f"{self.prog}: {message} (see --help)\n")


class _Version(argparse.Action):
    """Prints the version and exits. It is read only if it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        print(f"latchkey {read_version()}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="latchkey", description="Serves Latchkey, and manages its database and users."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = _command(commands, "serve", "serve the application (settings: .env.example)", _serve)
    serve.add_argument("--migrate", action="store_true", help="apply database migrations first")
    _command(commands, "migrate", "apply database migrations", _migrate)
    _command(
        commands,
        "new-migration",
        "write an empty migration of the product, to fill in",
        _new_migration,
    ).add_argument("text", help="what it does, such as: Add a note to bookmarks")
    _command(
        commands, "backup", "back up the SQLite database, even while it is in use", _back_up
    ).add_argument("file", type=Path)
    _command(
        commands, "restore", "replace the SQLite database with a backup", _restore
    ).add_argument("file", type=Path)
    _command(
        commands, "doctor", "check settings, database, mail, proxy and TLS", _doctor
    ).add_argument("--json", action="store_true", help="print the findings as JSON")
    secret = _command(commands, "secret", "print a new SESSION_SECRET", _secret)
    secret.add_argument("--webhook", action="store_true", help="print a WEBHOOK_SECRET instead")
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
    _add_role_commands(commands)
    _add_mail_commands(commands)
    _add_hooks_commands(commands)
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
    create.add_argument("--role", default="user")
    role = _operator_command(
        users,
        "role",
        "change a user's role, effective at their next request",
        operator_commands.prepare_role_change,
    )
    role.add_argument("email")
    role.add_argument("role")
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
    audit = commands.add_parser("audit", help="the audit log: list, verify")
    audit_commands = audit.add_subparsers(required=True, metavar="COMMAND")
    listing = _operator_command(
        audit_commands,
        "list",
        "list the newest entries, the newest last",
        operator_commands.prepare_entry_list,
        writes=False,
    )
    listing.add_argument("--user", metavar="EMAIL", help="only those by or about this user")
    listing.add_argument("--event", help="only those of this event, such as login")
    listing.add_argument("--limit", metavar="NUMBER", default="50", help="at most so many (50)")
    listing.add_argument("--json", action="store_true", help="print a JSON object per line")
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


def _add_role_commands(commands: Any) -> None:
    roles_parser = commands.add_parser("roles", help="roles: list, create, grant, revoke, delete")
    roles = roles_parser.add_subparsers(required=True, metavar="COMMAND")
    _operator_command(
        roles,
        "list",
        "list the roles with their users and permissions",
        role_commands.prepare_list,
        writes=False,
    )
    create = _operator_command(roles, "create", "add a role", role_commands.prepare_creation)
    create.add_argument("name")
    create.add_argument("--label", required=True)
    grant = _operator_command(
        roles, "grant", "give a role a permission", role_commands.prepare_grant
    )
    revoke = _operator_command(
        roles, "revoke", "take a permission from a role", role_commands.prepare_revocation
    )
    for command in (grant, revoke):
        command.add_argument("name")
        command.add_argument("permission", help="such as articles:write")
    _operator_command(
        roles, "delete", "delete a role that nobody has", role_commands.prepare_deletion
    ).add_argument("name")


def _add_mail_commands(commands: Any) -> None:
    mail_commands_parser = commands.add_parser("mail", help="mail: list, retry, drop, test")
    mail = mail_commands_parser.add_subparsers(required=True, metavar="COMMAND")
    listing = _add_outbox_commands(mail, "mail", MAIL_TYPES, "latchkey mail list")
    listing.add_argument("--to", metavar="EMAIL", help="only those to this email")
    _command(
        mail, "test", "send a test mail and print the server's answer", _mail_test
    ).add_argument("email")


def _add_hooks_commands(commands: Any) -> None:
    hooks = commands.add_parser(
        "hooks", help="hooks after a commit, and webhooks: list, retry, drop"
    ).add_subparsers(required=True, metavar="COMMAND")
    _add_outbox_commands(hooks, "message", EVENT_TYPES, "latchkey hooks list").set_defaults(to="")


def _add_outbox_commands(commands: Any, noun: str, types: Sequence[str], list_command: str) -> Any:
    """Adds the commands for messages of these types, and returns the parser of `list`."""
    listing = _operator_command(
        commands,
        "list",
        f"list the {noun}s of the outbox",
        mail_commands.prepare_list,
        writes=False,
    )
    listing.add_argument("--dead", action="store_true", help="only those that were given up")
    retry = _operator_command(
        commands, "retry", f"send failed {noun}s again", mail_commands.prepare_retry, writes=False
    )
    _add_one_or_all(retry, "id")
    drop = _operator_command(
        commands, "drop", f"delete an unsent {noun}", mail_commands.prepare_drop, writes=False
    )
    drop.add_argument("id")
    for parser in (listing, retry, drop):
        parser.set_defaults(noun=noun, types=types, list_command=list_command)
    return listing


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
    # An error in the product ends the program before the database is changed.
    product = load_chosen_product(settings).data
    check_events(settings, product)
    if options.migrate:
        for migration in migrate_if_needed(settings.database_url, product):
            _print_migration(migration)
    else:
        asyncio.run(require_schema_if_reachable(settings.database_url, product))
    return serve(settings, server_settings)


def _migrate(options: argparse.Namespace) -> None:
    settings = _settings(options)
    _name_default_database(options, settings)
    for migration in migrate(settings.database_url, product=load_chosen_product(settings).data):
        _print_migration(migration)


def _print_migration(migration: Migration) -> None:
    for title in migration.applied:
        print(f"applied: {title}")
    if migration.head is not None:
        print(f"the database has revision {migration.head} of {migration.branch}")


def _new_migration(options: argparse.Namespace) -> None:
    if not FOLDER.is_dir():
        raise CommandError(f"there is no product: create {FOLDER} with scripts/new-product")
    branch = product_branch(FOLDER / "migrations")
    print(create_revision(branch, options.text))


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


def _doctor(options: argparse.Namespace) -> int:
    """Prints the findings. Returns 0, 1 if there is an error, or 2 for an invalid setting."""
    from web.cli.doctor.findings import error, exit_code, print_findings
    from web.settings.server_settings import read_server_settings

    try:
        settings = read_settings(options.environ, make_secret=False)
        read_server_settings(options.environ)
    except InvalidSetting as problem:
        print_findings([error("settings", str(problem))], as_json=options.json)
        return 2
    findings = []
    try:
        product = load_chosen_product(settings)
    # The code of a product can raise anything.
    except Exception as problem:
        text = f"{type(problem).__name__}: {problem}".splitlines()[0]
        findings.append(error("product", f"it cannot be loaded: {text}"))
        product = NO_PRODUCT
    findings += asyncio.run(_find_mistakes(settings, product, options.environ))
    print_findings(findings, as_json=options.json)
    return exit_code(findings)


async def _find_mistakes(
    settings: Settings, product: Product, environ: Mapping[str, str]
) -> list["Finding"]:
    from web.cli.doctor.command import find_mistakes

    store = open_store(settings, product=product.data)
    try:
        findings = find_mistakes(Operator(store), settings, product.data, environ, ROOT, DATA)
        return [finding async for finding in findings]
    finally:
        await store.database.disconnect()
        store.passwords.close()


def _secret(options: argparse.Namespace) -> None:
    print(make_webhook_secret() if options.webhook else secrets.token_urlsafe(32))


def _routes(options: argparse.Namespace) -> None:
    from web.routes import access_table

    product = load_product() if read_product_choice(Environment(options.environ)) else NO_PRODUCT
    print(access_table(product.routes))


def _limits(options: argparse.Namespace) -> None:
    for line in setting_commands.list_limits(options.environ):
        print(line)


def _mail_test(options: argparse.Namespace) -> None:
    settings = _settings(options)
    print(mail_commands.send_test_mail(settings, load_chosen_product(settings), options.email))


def _run_as_operator(options: argparse.Namespace) -> None:
    """Validates the arguments, opens the store and runs the command.

    A command that writes audit entries first requires the audit keys of the service. Only then may
    it create a missing session secret.
    """
    settings = _settings(options)
    task = options.prepare(options, settings)
    if options.writes:
        _name_default_database(options, settings)
        asyncio.run(_as_operator(settings, operator_commands.require_same_audit_keys))
        settings = _settings(options, make_secret=True)
    asyncio.run(_as_operator(settings, task))


def _name_default_database(options: argparse.Namespace, settings: Settings) -> None:
    """Names the database on standard error if DATABASE_URL is not set.

    A service usually has another database, and its settings are easily forgotten at a command.
    """
    names = ("DATABASE_URL", "DATABASE_URL_FILE")
    if not any(options.environ.get(name, "").strip() for name in names):
        url = mask_password(settings.database_url)
        print(f"latchkey: DATABASE_URL is not set; the database is {url}", file=sys.stderr)


async def _as_operator(settings: Settings, task: OperatorTask) -> None:
    # The hooks of the product also run for changes by the operator.
    store = open_store(settings, product=load_chosen_product(settings).data)
    try:
        await require_schema(settings.database_url, store.product)
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


def _print_traceback(error: BaseException | None) -> None:
    """Prints the part of the traceback that concerns the product, without the import machinery."""
    if error is None:
        return
    frames = error.__traceback__
    while frames is not None and not _is_in_product(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    traceback.print_exception(error.with_traceback(frames))


def _is_in_product(path: str) -> bool:
    return Path(path).is_relative_to(FOLDER)


def _print_error(line: str, code: int) -> int:
    print(f"latchkey: {line}", file=sys.stderr)
    return code
