"""Contains the environment variables of the programs that the tests start."""

from pathlib import Path
from typing import Final

SECRET: Final = "a session secret of the tests: 7Jq2vX0pLw9sRz4T"
# The variables of every program: neither the .env file nor the product of the checkout is read.
ENVIRON: Final = {"ENV_FILE": "off", "PRODUCT": "off", "SESSION_SECRET": SECRET}


def work_settings(issuer: str, client_id: str, client_secret: str) -> dict[str, str]:
    """Returns the settings of an identity provider with the name `work`."""
    return {
        "PROVIDERS": "work",
        "WORK_ISSUER": issuer,
        "WORK_CLIENT_ID": client_id,
        "WORK_CLIENT_SECRET": client_secret,
    }


# The settings with which the program has the routes of identity providers and of organizations. No
# provider answers there.
WITH_PROVIDERS: Final = work_settings("http://127.0.0.1:9", "latchkey", "secret") | {
    "ORGANIZATIONS": "on"
}


def environ_of(database: Path, **changes: str) -> dict[str, str]:
    """Returns the variables for a program with this SQLite file."""
    return {**ENVIRON, "DATABASE_URL": f"sqlite:///{database}", **changes}
