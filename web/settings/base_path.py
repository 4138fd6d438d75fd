"""Contains the function that reads BASE_PATH, the path under which browsers see the program."""

import re
from typing import Final

from web.settings.environment import Environment, InvalidSetting

# Unreserved characters (RFC 3986, section 2.3). They mean the same in every URL, header and script.
BASE_PATH: Final = re.compile(r"(/[A-Za-z0-9._~-]+)+")
MAX_BASE_PATH_CHARS: Final = 200


def read_base_path(env: Environment) -> str:
    """Returns BASE_PATH, such as `/accounts`, or an empty string. Raises InvalidSetting."""
    text = env.text("BASE_PATH", "")
    if text and (
        len(text) > MAX_BASE_PATH_CHARS
        or not BASE_PATH.fullmatch(text)
        # Browsers and proxies remove these segments from a path.
        or {".", ".."} & set(text.split("/"))
    ):
        raise InvalidSetting(
            "BASE_PATH",
            "must be empty or a path such as /accounts, without a slash at the end, "
            f"not {text[:80]!r}",
        )
    return text
