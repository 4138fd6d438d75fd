"""Contains the parser of the command line, made from the tables of commands."""

import argparse
from typing import Any, Final, NoReturn

from web.cli import (
    audit_commands,
    database_commands,
    factor_commands,
    mail_commands,
    organization_commands,
    provider_commands,
    role_commands,
    server_commands,
    setting_commands,
    user_commands,
)
from web.cli.commands import Argument, Arguments, Command, CommandGroup, OperatorCommand
from web.cli.operator_tasks import run_operator_command
from web.settings.version import read_version

COMMANDS: Final = (
    *server_commands.COMMANDS,
    *database_commands.COMMANDS,
    *setting_commands.COMMANDS,
    *user_commands.COMMANDS,
    *factor_commands.COMMANDS,
    *provider_commands.COMMANDS,
    *organization_commands.COMMANDS,
    *audit_commands.COMMANDS,
    *role_commands.COMMANDS,
    *mail_commands.COMMANDS,
)


class _Parser(argparse.ArgumentParser):
    """argparse's parser, which prints an error as one line without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(1, f"{self.prog}: {message} (see --help)\n")


class _Version(argparse.Action):
    """Prints the version and exits. It is read only if it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        print(f"latchkey {read_version()}")
        parser.exit()


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser. Its result has the function of the command in `run`."""
    parser = _Parser(
        prog="latchkey", description="Serves Latchkey, and manages its database and users."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        if isinstance(command, CommandGroup):
            _add_group(commands, command)
        else:
            _add_command(commands, command)
    return parser


def _add_group(commands: Any, group: CommandGroup) -> None:
    names = ", ".join(command.name for command in group.commands)
    parser = commands.add_parser(
        group.name, help=f"{group.help}: {names}", description=f"Commands for {group.help}."
    )
    members = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in group.commands:
        _add_command(members, command)


def _add_command(commands: Any, command: Command | OperatorCommand) -> None:
    parser = commands.add_parser(command.name, help=command.help, description=command.help)
    if isinstance(command, OperatorCommand):
        parser.set_defaults(
            run=run_operator_command, prepare=command.prepare, writes=command.writes
        )
    else:
        parser.set_defaults(run=command.run)
    _add_arguments(parser, command.arguments)


def _add_arguments(parser: argparse.ArgumentParser, arguments: Arguments) -> None:
    for argument in arguments:
        if isinstance(argument, Argument):
            parser.add_argument(argument.name, **argument.options)
        else:
            group = parser.add_mutually_exclusive_group(required=True)
            group.add_argument(argument.name, nargs="?")
            group.add_argument("--all", action="store_true")
