"""What a field may hold, and what is said where it does not: one schema for each form, the guide's sentences."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, BaseModel, PlainValidator, ValidationInfo
from pydantic_core import PydanticCustomError

from db.secret import Secret

LONGEST_NAME: Final = 100
LONGEST_EMAIL: Final = 254  # RFC 5321, section 4.5.3.1.3, less the angle brackets
LONGEST_PASSWORD: Final = 256  # characters, and 1,024 bytes


@dataclass(frozen=True, slots=True)
class Rule:
    """One line under "Password must:". `pattern` means the same to Python and, with the `u` flag, to JavaScript."""

    key: str
    pattern: str
    sentence: str
    short: str

    def is_met(self, password: str) -> bool:
        return re.search(self.pattern, password) is not None


@dataclass(frozen=True, slots=True)
class Policy:
    """What a new password must be. `generator` tells Safari's password generator (`passwordrules`)."""

    rules: tuple[Rule, ...]
    generator: str


_LENGTH = Rule("length", r"^[\s\S]{8,}$", "Be at least 8 characters long", "8 characters")
POLICIES: Final[Mapping[str, Policy]] = {
    "guide": Policy(
        (
            _LENGTH,
            Rule("letter", r"[a-zA-Z]", "Contain at least one letter.", "a letter"),
            Rule("number", r"[0-9]", "Contain at least one number.", "a number"),
            Rule("special", r"[^a-zA-Z0-9]", "Contain at least one special character.", "a special character"),
        ),
        "minlength: 8; maxlength: 256; required: lower, upper; required: digit; required: special;",
    ),
    "length": Policy((_LENGTH,), "minlength: 8; maxlength: 256;"),  # NIST 800-63B: no composition rules
}


@dataclass(frozen=True, slots=True)
class Input:
    """How a field is drawn: the attributes of its `<input>`, which repeat the schema for the browser."""

    attrs: Mapping[str, str | bool]


def refuse(*sentences: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "refused", {"sentences": sentences})


def storable(text: str) -> str:
    """No NUL (PostgreSQL has no place for it) and no lone surrogate (UTF-8 has none)."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise refuse("This has a character that cannot be stored. Please type it again.")
    return text


def _name(text: str) -> str:
    name = storable(text).strip()  # trimmed before it is measured: trap T15
    if len(name) > LONGEST_NAME:
        raise refuse(f"Name must be at most {LONGEST_NAME} characters long.")
    if len(name) < 2:
        raise refuse("Name must be at least 2 characters long.")
    return name


def _email(text: str) -> str:
    """The canonical form, the only one stored and looked up: local part in ASCII lower case, domain in IDNA.

    email-validator normalises (NFC, UTS 46) before it validates; the other way round is GHSA-7rqj-j65f-68wh.
    """
    email = storable(text).strip()
    if len(email) > LONGEST_EMAIL:
        raise refuse(f"Email must be at most {LONGEST_EMAIL} characters long.")
    try:
        valid = validate_email(email, check_deliverability=False, allow_smtputf8=False)
    except EmailNotValidError:
        raise refuse("Please enter a valid email.") from None
    return f"{valid.local_part.lower()}@{(valid.ascii_domain or valid.domain).lower()}"


def _sized(password: Any) -> str:
    """Bounded before anything is computed from it (ASVS 6.2.9); never trimmed, never changed (ASVS 6.2.8)."""
    if len(password) > LONGEST_PASSWORD or len(password.encode("utf-8", "replace")) > 4 * LONGEST_PASSWORD:
        raise refuse(f"Password must be at most {LONGEST_PASSWORD} characters long.")
    return storable(password)


def _new_password(password: Any, info: ValidationInfo) -> Secret[str]:
    policy: Policy = info.context["policy"] if info.context else POLICIES["guide"]
    unmet = [rule.sentence for rule in policy.rules if not rule.is_met(_sized(password))]
    if unmet:
        raise refuse(*unmet)
    return Secret(password)


def _present_password(password: Any) -> Secret[str]:
    if not _sized(password):
        raise refuse("Please enter your password.")
    return Secret(password)


_EXACT: Final = {"required": True, "spellcheck": "false", "autocapitalize": "none"}
Name = Annotated[
    str,
    AfterValidator(_name),
    Input({"type": "text", "autocomplete": "name", "required": True, "minlength": "2", "maxlength": str(LONGEST_NAME)}),
]
Email = Annotated[
    str,
    AfterValidator(_email),
    Input(
        {"type": "email", "autocomplete": "username", "inputmode": "email", "maxlength": str(LONGEST_EMAIL)} | _EXACT,
    ),
]
NewPassword = Annotated[
    Secret[str],
    PlainValidator(_new_password),
    Input({"type": "password", "autocomplete": "new-password", "minlength": "8"} | _EXACT),
]
PresentPassword = Annotated[
    Secret[str],
    PlainValidator(_present_password),
    Input({"type": "password", "autocomplete": "current-password"} | _EXACT),
]


class SignUp(BaseModel):
    name: Name
    email: Email
    password: NewPassword


class LogIn(BaseModel):
    email: Email
    password: PresentPassword
    next: str = ""
