"""The names of roles and permissions."""

import re
from typing import Final

BUILT_IN_ROLES: Final = ("user", "admin")
ROLE_NAME: Final = re.compile(r"[a-z][a-z0-9-]{1,39}")
# Groups of identity headers are roles and teams, and the latter start with this prefix.
RESERVED_PREFIX: Final = "team-"
PERMISSION_NAME: Final = re.compile(r"[a-z][a-z0-9-]*:[a-z][a-z0-9-]*")
MAX_PERMISSION_CHARS: Final = 80


def is_role_name(name: str) -> bool:
    """Returns whether a role may have this name."""
    return ROLE_NAME.fullmatch(name) is not None and not name.startswith(RESERVED_PREFIX)


def is_permission_name(name: str) -> bool:
    """Returns whether a permission may have this name, such as `articles:write`."""
    return len(name) <= MAX_PERMISSION_CHARS and PERMISSION_NAME.fullmatch(name) is not None
