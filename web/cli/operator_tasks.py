"""Runs the tasks of commands. Only this module creates an Operator."""

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from db.access import operator
from db.maintenance.schema import require_schema
from db.viewer import Operator
from web.app import open_store
from web.cli.command_settings import name_default_database, read_command_settings
from web.cli.commands import CommandError, OperatorTask
from web.product import Product, load_chosen_product
from web.settings.settings import Settings


def run_operator_command(options: argparse.Namespace) -> None:
    """Validates the arguments, opens the store and runs the command.

    A command that writes audit entries first requires the audit keys of the service. Only then may
    it create a missing session secret.
    """
    settings = read_command_settings(options)
    task = options.prepare(options, settings)
    if options.writes:
        name_default_database(options, settings)
        asyncio.run(_run_task(settings, _require_same_audit_keys))
        settings = read_command_settings(options, make_secret=True)
    asyncio.run(_run_task(settings, task))


async def _require_same_audit_keys(caller: Operator) -> None:
    """Raises CommandError if the service authenticates its audit log with another secret.

    Entries of this process would break the hash chain.
    """
    if problem := await operator.find_audit_problem(caller):
        raise CommandError(f"nothing was changed: {problem}")


async def _run_task(settings: Settings, task: OperatorTask) -> None:
    # The hooks of the product also run for changes by the operator.
    async with open_as_operator(settings, load_chosen_product(settings)) as caller:
        await require_schema(settings.database_url, caller.store.product)
        await caller.store.database.connect()
        await task(caller)


@asynccontextmanager
async def open_as_operator(settings: Settings, product: Product) -> AsyncIterator[Operator]:
    """Opens a store for the operator and closes it at the end. Does not connect to the database."""
    store = open_store(settings, product=product.data)
    try:
        yield Operator(store)
    finally:
        await store.database.disconnect()
        store.passwords.close()
