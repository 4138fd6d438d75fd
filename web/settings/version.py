"""Contains the function that reads the version of the program."""

from importlib.metadata import version

from web.settings.paths import ROOT


def read_version() -> str:
    """Returns the version in the checkout's pyproject.toml, or that of the installed package.

    In a checkout, the metadata of the package are those of the day when it was installed.
    """
    import tomllib  # It takes 0.25 MB, and the server does not need it.

    try:
        with (ROOT / "pyproject.toml").open("rb") as file:
            return str(tomllib.load(file)["project"]["version"])
    except OSError:
        return version("latchkey")
