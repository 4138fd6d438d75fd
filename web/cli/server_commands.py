"""Contains the commands `latchkey serve`, `latchkey doctor` and `latchkey routes`."""

import argparse
import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from db.maintenance.schema import migrate_if_needed, require_schema_if_reachable
from web.app import check_events
from web.cli.command_settings import protect_files
from web.cli.commands import Argument, Command
from web.cli.database_commands import print_migration
from web.cli.operator_tasks import open_as_operator
from web.product import NO_PRODUCT, Product, load_chosen_product, load_product
from web.settings.environment import Environment, InvalidSetting
from web.settings.paths import DATA, ROOT
from web.settings.settings import Settings, read_product_choice, read_settings

if TYPE_CHECKING:
    from web.cli.doctor.findings import Finding


def run_serve(options: argparse.Namespace) -> int:
    from web.server.runner import serve
    from web.settings.server_settings import read_server_settings

    settings = read_settings(options.environ, make_secret=True)
    server_settings = read_server_settings(options.environ)
    notices = [*settings.notices, *protect_files(settings)]
    if options.env_file is not None:
        notices.append(f"settings were also read from {options.env_file}")
    settings = replace(settings, notices=tuple(notices))
    # An error in the product ends the program before the database is changed.
    product = load_chosen_product(settings).data
    check_events(settings, product)
    if options.migrate:
        for migration in migrate_if_needed(settings.database_url, product):
            print_migration(migration)
    else:
        asyncio.run(require_schema_if_reachable(settings.database_url, product))
    return serve(settings, server_settings)


def run_doctor(options: argparse.Namespace) -> int:
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

    async with open_as_operator(settings, product) as caller:
        findings = find_mistakes(caller, settings, product.data, environ, ROOT, DATA)
        return [finding async for finding in findings]


def run_routes(options: argparse.Namespace) -> None:
    from web.routes import access_table

    product = load_product() if read_product_choice(Environment(options.environ)) else NO_PRODUCT
    print(access_table(product.routes))


COMMANDS: Final = (
    Command(
        "serve",
        "serve the application (settings: .env.example)",
        run_serve,
        (Argument("--migrate", action="store_true", help="apply database migrations first"),),
    ),
    Command(
        "doctor",
        "check settings, database, mail, proxy and TLS",
        run_doctor,
        (Argument("--json", action="store_true", help="print the findings as JSON"),),
    ),
    Command("routes", "print every route: its methods, its path and who may use it", run_routes),
)
