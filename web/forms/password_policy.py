"""Contains the policies for new passwords: the four rules of the guide, or the one of NIST."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from db.messages import Message
from web.brand import SITE_NAME


@dataclass(frozen=True, slots=True)
class PasswordRule:
    """A rule in the list "Password must:".

    `pattern` has the same meaning in Python and, with the `u` flag, in JavaScript.
    """

    key: str
    pattern: str
    sentence: str
    short: str

    def is_met(self, password: str) -> bool:
        return re.search(self.pattern, password) is not None


@dataclass(frozen=True, slots=True)
class PasswordPolicy:
    """The rules for new passwords.

    `generator` is the attribute `passwordrules` for Safari's password generator. `site_name` is
    refused as a password.
    """

    rules: tuple[PasswordRule, ...]
    generator: str
    site_name: str = SITE_NAME


_LENGTH = PasswordRule(
    "length", r"^[\s\S]{8,}$", Message("Be at least 8 characters long"), Message("8 characters")
)
PASSWORD_POLICIES: Final[Mapping[str, PasswordPolicy]] = {
    "guide": PasswordPolicy(
        (
            _LENGTH,
            PasswordRule(
                "letter", r"[a-zA-Z]", Message("Contain at least one letter."), Message("a letter")
            ),
            PasswordRule(
                "number", r"[0-9]", Message("Contain at least one number."), Message("a number")
            ),
            PasswordRule(
                "special",
                r"[^a-zA-Z0-9]",
                Message("Contain at least one special character."),
                Message("a special character"),
            ),
        ),
        "minlength: 8; maxlength: 256; required: lower, upper; required: digit; required: special;",
    ),
    # NIST SP 800-63B has no composition rules.
    "length": PasswordPolicy((_LENGTH,), "minlength: 8; maxlength: 256;"),
}
