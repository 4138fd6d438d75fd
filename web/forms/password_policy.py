"""What a new password must be: the guide's four rules, or NIST's one."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class PasswordRule:
    """One line under "Password must:".

    `pattern` means the same to Python and, with the `u` flag, to JavaScript.
    """

    key: str
    pattern: str
    sentence: str
    short: str

    def is_met(self, password: str) -> bool:
        return re.search(self.pattern, password) is not None


@dataclass(frozen=True, slots=True)
class PasswordPolicy:
    """What a new password must be.

    `generator` tells Safari's password generator (`passwordrules`).
    """

    rules: tuple[PasswordRule, ...]
    generator: str


_LENGTH = PasswordRule("length", r"^[\s\S]{8,}$", "Be at least 8 characters long", "8 characters")
PASSWORD_POLICIES: Final[Mapping[str, PasswordPolicy]] = {
    "guide": PasswordPolicy(
        (
            _LENGTH,
            PasswordRule("letter", r"[a-zA-Z]", "Contain at least one letter.", "a letter"),
            PasswordRule("number", r"[0-9]", "Contain at least one number.", "a number"),
            PasswordRule(
                "special",
                r"[^a-zA-Z0-9]",
                "Contain at least one special character.",
                "a special character",
            ),
        ),
        "minlength: 8; maxlength: 256; required: lower, upper; required: digit; required: special;",
    ),
    # NIST 800-63B: no composition rules
    "length": PasswordPolicy((_LENGTH,), "minlength: 8; maxlength: 256;"),
}
