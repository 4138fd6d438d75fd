"""Contains the order of the checks of `latchkey doctor`."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from db.product import ProductData
from db.viewer import Operator
from web.cli.doctor.database_checks import check_database, check_migrations
from web.cli.doctor.file_checks import (
    check_disk,
    check_environment_file,
    check_files,
    check_secret,
)
from web.cli.doctor.findings import Finding
from web.cli.doctor.mail_checks import check_mail, read_texts_from_dns
from web.cli.doctor.service_checks import check_service
from web.cli.doctor.settings_checks import check_settings
from web.settings.settings import Settings


async def find_mistakes(
    caller: Operator,
    settings: Settings,
    product: ProductData,
    environ: Mapping[str, str],
    root: Path,
    data: Path,
) -> AsyncIterator[Finding]:
    """Yields the findings of all checks, those without a network first. Changes nothing."""
    for finding in (
        *check_settings(settings),
        *check_environment_file(root / ".env"),
        *check_secret(settings, environ, data),
        *check_files(settings, data),
        *check_disk(settings, data),
        *check_migrations(product),
    ):
        yield finding
    async for finding in check_database(caller, settings, product):
        yield finding
    async for finding in check_mail(settings, read_texts_from_dns):
        yield finding
    async for finding in check_service(caller, settings):
        yield finding
