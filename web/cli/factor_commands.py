"""Contains the command `latchkey factors rekey`."""

import argparse
from collections.abc import Iterator
from typing import Final

from db.access import operator_factors, operator_organizations
from db.viewer import Operator
from web.cli.commands import CommandError, CommandGroup, OperatorCommand, OperatorTask
from web.rendering.formatting import plural
from web.settings.settings import Settings


def prepare_rekey(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    """Returns the task. If it is interrupted, the batches until then are stored, and it can be run
    again.
    """

    async def rekey(caller: Operator) -> None:
        rekeyed = unreadable = 0
        batch = await operator_factors.rekey_batch(caller)
        while batch.last_user_id:
            rekeyed += batch.rekeyed
            unreadable += batch.unreadable
            batch = await operator_factors.rekey_batch(caller, batch.last_user_id)
        current = await operator_factors.count_current_apps(caller)
        secrets = plural(rekeyed, "secret was", "secrets were")
        print(f"{rekeyed} {secrets} encrypted again; apps with the first key: {current}")
        clients, unreadable_clients = await operator_organizations.rekey_client_secrets(caller)
        if clients:
            print(f"client secrets of organizations with the first key: {clients}")
        if problems := list(_describe_unreadable(unreadable, unreadable_clients)):
            raise CommandError("; ".join(problems))

    return rekey


def _describe_unreadable(apps: int, client_secrets: int) -> Iterator[str]:
    if apps:
        noun = plural(apps, "authenticator app", "authenticator apps")
        yield (
            f"no key of SESSION_SECRET decrypts {apps} {noun}: add the former secret to "
            "SESSION_SECRET, and run the command again"
        )
    if client_secrets:
        noun = plural(client_secrets, "client secret", "client secrets")
        yield (
            f"no key of SESSION_SECRET decrypts {client_secrets} {noun} of organizations: add the "
            "former secret to SESSION_SECRET and run the command again, or type them again on "
            "their pages"
        )


COMMANDS: Final = (
    CommandGroup(
        "factors",
        "second steps",
        (
            OperatorCommand(
                "rekey",
                "encrypt the secrets of authenticator apps and the client secrets of organizations "
                "with the first key of SESSION_SECRET",
                prepare_rekey,
                writes=False,
            ),
        ),
    ),
)
