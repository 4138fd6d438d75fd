"""Contains the fields of an organization's form, their validators and their error messages."""

import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, PlainValidator

from db.crypto.secret import Secret
from db.emails import canonical_email
from db.messages import Message, UserText
from db.providers.provider import is_issuer
from db.role_names import is_role_name
from web.forms.characters import count_visible, strip_invisible
from web.forms.common_domains import COMMON_DOMAINS
from web.forms.fields import Input, field_error, require_single_line, require_storable

MAX_LABEL_CHARS: Final = 40
MAX_CLIENT_ID_CHARS: Final = 500
MAX_SECRET_CHARS: Final = 2000
MAX_CLAIM_CHARS: Final = 200
MAX_RULES: Final = 50
# RFC 6749, section 3.3 and appendix A.1
SCOPES_PATTERN: Final = re.compile(r"[!#-\[\]-~]{1,100}( [!#-\[\]-~]{1,100}){0,19}")
CLIENT_ID_PATTERN: Final = re.compile(rf"[ -~]{{1,{MAX_CLIENT_ID_CHARS}}}")
NO_SECRET: Final = Message("Type the client secret that your provider has given you.")
NOT_A_RULE: Final = Message("“{line}” is not a rule. Write a value, an equals sign and a role.")
TOO_MANY_RULES: Final = Message("An organization can have at most {count} rules.")
RULE_TWICE: Final = Message("“{value}” has two rules. Remove one.")
_EXACT: Final = {
    "type": "text",
    "autocomplete": "off",
    "spellcheck": "false",
    "autocapitalize": "none",
    "dir": "ltr",
}


def _domain(text: str) -> str:
    """Returns the domain in the form that emails have."""
    domain = strip_invisible(require_storable(text)).lower().removeprefix("@")
    email = canonical_email(f"a@{domain}") if domain.count("@") == 0 else None
    if email is None:
        raise field_error(Message("Type a domain such as example.com."))
    canonical = email.partition("@")[2]
    if canonical in COMMON_DOMAINS:
        raise field_error(Message("Anyone can have an email of this domain. Type your own."))
    return canonical


def _label(text: str) -> str:
    label = require_single_line(text.strip())
    if len(label) > MAX_LABEL_CHARS:
        raise field_error(Message("Name must be at most 40 characters long."))
    if not count_visible(label):
        raise field_error(Message("Please enter a name."))
    return label


def _issuer(text: str) -> str:
    """Returns the issuer unchanged, because it is compared character by character."""
    issuer = strip_invisible(require_storable(text))
    if not is_issuer(issuer):
        raise field_error(Message("Type an address that starts with https://."))
    return issuer


def _client_id(text: str) -> str:
    client_id = strip_invisible(require_storable(text))
    if not CLIENT_ID_PATTERN.fullmatch(client_id):
        raise field_error(Message("Type the client ID that your provider has given you."))
    return client_id


def _client_secret(text: Any) -> Secret[str] | None:
    secret = require_storable(str(text)).strip()
    if len(secret) > MAX_SECRET_CHARS:
        raise field_error(Message("This is too long for a client secret."))
    return Secret(secret) if secret else None


def _new_client_secret(text: Any) -> Secret[str]:
    secret = _client_secret(text)
    if secret is None:
        raise field_error(NO_SECRET)
    return secret


def _scopes(text: str) -> str:
    scopes = " ".join(require_storable(text).split())
    if not SCOPES_PATTERN.fullmatch(scopes) or "openid" not in scopes.split():
        raise field_error(Message("Type scopes separated by spaces. One of them must be openid."))
    return scopes


def _role_claim(text: str) -> str:
    claim = require_single_line(text.strip())
    if len(claim) > MAX_CLAIM_CHARS:
        raise field_error(Message("This is too long for the name of a claim."))
    return claim


def _rules(text: Any) -> tuple[tuple[str, str], ...]:
    """Returns pairs of a value and a role, of which each line has one."""
    rules: dict[str, str] = {}
    for line in require_storable(str(text)).splitlines():
        if not line.strip():
            continue
        value, _, role = (part.strip() for part in require_single_line(line).rpartition("="))
        if not value or len(value) > MAX_CLAIM_CHARS or not is_role_name(role):
            raise field_error(NOT_A_RULE.format(line=UserText(line.strip()[:MAX_CLAIM_CHARS])))
        if value in rules:
            raise field_error(RULE_TWICE.format(value=UserText(value)))
        rules[value] = role
    if len(rules) > MAX_RULES:
        raise field_error(TOO_MANY_RULES.format(count=MAX_RULES))
    return tuple(rules.items())


OrganizationDomain = Annotated[str, AfterValidator(_domain), Input({**_EXACT, "required": True})]
OrganizationLabel = Annotated[
    str,
    AfterValidator(_label),
    Input({"type": "text", "autocomplete": "off", "required": True, "maxlength": "40"}),
]
Issuer = Annotated[
    str,
    AfterValidator(_issuer),
    Input({**_EXACT, "type": "url", "inputmode": "url", "required": True}),
]
ClientId = Annotated[str, AfterValidator(_client_id), Input({**_EXACT, "required": True})]
NewClientSecret = Annotated[
    Secret[str],
    PlainValidator(_new_client_secret),
    Input({**_EXACT, "type": "password", "required": True}),
]
ClientSecret = Annotated[
    Secret[str] | None,
    PlainValidator(_client_secret),
    Input({**_EXACT, "type": "password"}),
]
Scopes = Annotated[str, AfterValidator(_scopes), Input({**_EXACT, "required": True})]
AllowsSignUp = Annotated[str, Input({"type": "checkbox"})]
RoleClaim = Annotated[str, AfterValidator(_role_claim), Input(dict(_EXACT))]
RoleRules = Annotated[
    tuple[tuple[str, str], ...],
    BeforeValidator(_rules),
    Input({"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}),
]
