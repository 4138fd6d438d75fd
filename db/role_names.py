"""The names of roles and permissions."""

import re
from collections.abc import Mapping
from typing import Final

from db.messages import Message, UserText

BUILT_IN_ROLES: Final = ("user", "admin")
BUILT_IN_LABELS: Final[Mapping[str, Message]] = {
    "user": Message("User"),
    "admin": Message("Administrator"),
}
ROLE_NAME: Final = re.compile(r"[a-z][a-z0-9-]{1,39}")
# Groups of identity headers are roles and teams, and the latter start with this prefix.
RESERVED_PREFIX: Final = "team-"
PERMISSION_NAME: Final = re.compile(r"[a-z][a-z0-9-]*:[a-z][a-z0-9-]*")
MAX_PERMISSION_CHARS: Final = 80


def is_role_name(name: str) -> bool:
    """Returns whether a role may have this name."""
    return ROLE_NAME.fullmatch(name) is not None and not name.startswith(RESERVED_PREFIX)


def label_of(name: str, label: str) -> Message | UserText:
    """Returns the label of a role for a page: that of a built-in role can be translated, that of
    another was chosen by an administrator.
    """
    return BUILT_IN_LABELS.get(name) or UserText(label)


def is_permission_name(name: str) -> bool:
    """Returns whether a permission may have this name, such as `articles:write`."""
    return len(name) <= MAX_PERMISSION_CHARS and PERMISSION_NAME.fullmatch(name) is not None
