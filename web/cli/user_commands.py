"""Contains the commands `latchkey users …`; those for files are in `user_file_commands.py`."""

import argparse
from typing import Final

from db.access import operator, operator_factors, operator_mail
from db.viewer import Operator
from web.cli import user_file_commands
from web.cli.argument_checks import canonical_email, canonical_new_email, get_data
from web.cli.commands import (
    Argument,
    CommandError,
    CommandGroup,
    OneOrAll,
    OperatorCommand,
    OperatorTask,
)
from web.cli.terminal import read_password
from web.forms.form import Form
from web.forms.password_policy import PASSWORD_POLICIES
from web.forms.schemas import SignUp
from web.observability.logs import printable
from web.rendering.formatting import plural
from web.settings.settings import Settings


def prepare_creation(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    typed = {"name": options.name, "email": options.email, "password": read_password(options.stdin)}
    data = get_data(Form.check(SignUp, typed, PASSWORD_POLICIES[settings.password_policy]))

    async def create(caller: Operator) -> None:
        user_id = await operator.create_user(
            caller, name=data.name, email=data.email, password=data.password, role=options.role
        )
        if user_id is None:
            raise CommandError("An account with this email already exists.")
        print(f"created {data.email} with the role {options.role}")

    return create


def prepare_list(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    async def show(caller: Operator) -> None:
        for user in await operator.list_users(caller):
            state = "disabled" if user.disabled_at else user.role
            print(printable(f"{user.created_at:%Y-%m-%d}  {state:<8}  {user.email}  {user.name}"))

    return show


def prepare_role_change(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    email = canonical_email(options.email)

    async def change(caller: Operator) -> None:
        await operator.set_user_role(caller, email, options.role)
        print(f"{options.email} has the role {options.role} from their next request on")

    return change


def prepare_password_change(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    typed = {"email": options.email, "password": read_password(options.stdin)}
    form = Form.check_field(SignUp, "password", typed, PASSWORD_POLICIES[settings.password_policy])
    password = get_data(form).password
    email = canonical_email(options.email)

    async def change(caller: Operator) -> None:
        ended = await operator.set_user_password(caller, email, password)
        if settings.stateless:
            sessions = "every session was"
        else:
            sessions = f"{ended} {plural(ended, 'session was', 'sessions were')}"
        print(f"the password was changed, and {sessions} ended")

    return change


def prepare_verification(options: argparse.Namespace, settings: Settings) -> OperatorTask:
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


def prepare_email_change(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    email = canonical_email(options.email)
    new_email = canonical_new_email(options.new_email)

    async def run(caller: Operator) -> None:
        outcome = await operator.set_user_email(
            caller, email, new_email, tells_old=not options.no_notice
        )
        if outcome == "taken":
            raise CommandError("another account has this email, or may get it back")
        if outcome == "disabled":
            raise CommandError("the account is disabled: enable it first")
        print(f"{options.email} has the email {new_email} now")

    return run


def prepare_factor_reset(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    email = canonical_email(options.email)

    async def reset(caller: Operator) -> None:
        outcome = await operator_factors.reset_factors(caller, email)
        if outcome == "last way in":
            raise CommandError(
                "nothing else opens the account, because it has no password: "
                "set one first (latchkey users set-password)"
            )
        if outcome == "no factor":
            print(f"{options.email} had no second step; nothing was changed")
        else:
            print(
                f"the passkeys, authenticator app and recovery codes of {options.email} were "
                "removed, and every session was ended"
            )

    return reset


def prepare_disabling(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    email = canonical_email(options.email)

    async def run(caller: Operator) -> None:
        await operator.disable_user(caller, email)
        print(f"{options.email} was disabled, and every session was ended")

    return run


def prepare_enabling(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    email = canonical_email(options.email)

    async def run(caller: Operator) -> None:
        if await operator.enable_user(caller, email):
            print(f"{options.email} was enabled")
        else:
            print(f"{options.email} was enabled before; nothing was changed")

    return run


def prepare_deletion(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    email = canonical_email(options.email)

    async def run(caller: Operator) -> None:
        if options.now:
            await operator.delete_user_now(caller, email)
            print(f"{options.email} was deleted")
        else:
            delete_at = await operator.schedule_user_deletion(caller, email)
            print(
                f"{options.email} was disabled, and will be deleted on {delete_at:%Y-%m-%d} "
                "(to keep the account: latchkey users enable)"
            )

    return run


EMAIL: Final = Argument("email")
PASSWORD_STDIN: Final = Argument(
    "--password-stdin", action="store_true", required=True, help="read it from standard input"
)
COMMANDS: Final = (
    CommandGroup(
        "users",
        "users",
        (
            OperatorCommand(
                "create",
                "create an account",
                prepare_creation,
                (
                    Argument("--email", required=True),
                    Argument("--name", required=True),
                    Argument("--role", default="user"),
                    PASSWORD_STDIN,
                ),
            ),
            OperatorCommand("list", "list all users", prepare_list, writes=False),
            OperatorCommand(
                "role",
                "change a user's role, effective at their next request",
                prepare_role_change,
                (EMAIL, Argument("role")),
            ),
            OperatorCommand(
                "set-password",
                "set a password and end that user's sessions",
                prepare_password_change,
                (EMAIL, PASSWORD_STDIN),
            ),
            OperatorCommand(
                "verify",
                "confirm an email, or those of all users",
                prepare_verification,
                (OneOrAll("email"),),
            ),
            OperatorCommand(
                "set-email",
                "change a user's email, and notify both emails",
                prepare_email_change,
                (
                    EMAIL,
                    Argument("new_email", metavar="NEW"),
                    Argument(
                        "--no-notice",
                        action="store_true",
                        help="send no mail to the old email, because someone else may read it",
                    ),
                ),
            ),
            OperatorCommand(
                "reset-factors",
                "remove a user's passkeys, authenticator app and recovery codes",
                prepare_factor_reset,
                (EMAIL,),
            ),
            OperatorCommand(
                "disable", "disable an account and end its sessions", prepare_disabling, (EMAIL,)
            ),
            OperatorCommand(
                "enable",
                "enable an account, and keep it if it was about to be deleted",
                prepare_enabling,
                (EMAIL,),
            ),
            OperatorCommand(
                "delete",
                "disable an account, and delete it in seven days",
                prepare_deletion,
                (
                    EMAIL,
                    Argument("--now", action="store_true", help="delete it at once, for good"),
                ),
            ),
            *user_file_commands.COMMANDS,
        ),
    ),
)
