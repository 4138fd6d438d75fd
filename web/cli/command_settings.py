"""Contains the functions that read the settings of a command and protect its files."""

import argparse
import sys

from db.maintenance.database_files import make_file_private, make_private, path_of
from web.settings.database_url import mask_password
from web.settings.paths import DATA
from web.settings.settings import Settings, read_settings


def read_command_settings(options: argparse.Namespace, *, make_secret: bool = False) -> Settings:
    """Returns the settings, and prints warnings about the database files on standard error."""
    settings = read_settings(options.environ, make_secret=make_secret)
    for warning in protect_files(settings):
        print(f"latchkey: {warning}", file=sys.stderr)
    return settings


def protect_files(settings: Settings) -> list[str]:
    """Restricts `data/` and the database files to this user. Returns warnings.

    Earlier versions may have created them with a wider mode.
    """
    path = path_of(settings.database_url)
    if path is None:
        return []
    if path.parent == DATA:
        DATA.mkdir(mode=0o700, exist_ok=True)
    return [*filter(None, [make_file_private(DATA)]), *make_private(path)]


def name_default_database(options: argparse.Namespace, settings: Settings) -> None:
    """Names the database on standard error if DATABASE_URL is not set.

    A service usually has another database, and its settings are easily forgotten at a command.
    """
    names = ("DATABASE_URL", "DATABASE_URL_FILE")
    if not any(options.environ.get(name, "").strip() for name in names):
        url = mask_password(settings.database_url)
        print(f"latchkey: DATABASE_URL is not set; the database is {url}", file=sys.stderr)
