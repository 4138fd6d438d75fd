"""Contains the commands that migrate, back up and restore the database."""

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from db.maintenance.backup import back_up, restore
from db.maintenance.revisions import create_revision, product_branch
from db.maintenance.schema import Migration, migrate
from web.cli.command_settings import name_default_database, read_command_settings
from web.cli.commands import Argument, Command, CommandError
from web.product import FOLDER, load_chosen_product


def run_migrate(options: argparse.Namespace) -> None:
    settings = read_command_settings(options)
    name_default_database(options, settings)
    for migration in migrate(settings.database_url, product=load_chosen_product(settings).data):
        print_migration(migration)


def print_migration(migration: Migration) -> None:
    for title in migration.applied:
        print(f"applied: {title}")
    if migration.head is not None:
        print(f"the database has revision {migration.head} of {migration.branch}")


def run_new_migration(options: argparse.Namespace) -> None:
    if not FOLDER.is_dir():
        raise CommandError(f"there is no product: create {FOLDER} with scripts/new-product")
    branch = product_branch(FOLDER / "migrations")
    print(create_revision(branch, options.text))


def run_backup(options: argparse.Namespace) -> None:
    content = back_up(read_command_settings(options).database_url, options.file)
    print(f"backed up {content.users} users and {content.sessions} sessions to {options.file}")


def run_restore(options: argparse.Namespace) -> None:
    content, kept = restore(
        read_command_settings(options).database_url, options.file, datetime.now(UTC)
    )
    print(
        f"restored {content.users} users and {content.sessions} sessions; "
        f"replaced database: {kept or 'none'}"
    )
    print(
        "next: run `latchkey migrate`, then start the program; sessions that ended since "
        "the backup are valid again"
    )


FILE: Final = Argument("file", type=Path)
COMMANDS: Final = (
    Command("migrate", "apply database migrations", run_migrate),
    Command(
        "new-migration",
        "write an empty migration of the product, to fill in",
        run_new_migration,
        (Argument("text", help="what it does, such as: Add a note to bookmarks"),),
    ),
    Command("backup", "back up the SQLite database, even while it is in use", run_backup, (FILE,)),
    Command("restore", "replace the SQLite database with a backup", run_restore, (FILE,)),
)
