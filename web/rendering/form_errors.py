"""Contains the functions that add the message of an error to the submitted form."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from starlette.requests import Request

from db.errors import (
    AccountNotCreated,
    AppError,
    BreachedPassword,
    RateLimited,
    Refused,
    Unavailable,
)
from db.messages import Message
from web.forms.email_domains import is_allowed_domain
from web.forms.form import Form
from web.observability.logs import log_failure, log_unavailable
from web.rendering.display_email import display_email
from web.rendering.formatting import wait

EMAIL_TAKEN: Final = Message("An account with this email already exists.")
UNKNOWN_ROLE: Final = Message("That role doesn't exist anymore. Choose another.")
BUSY: Final = Message("We're busy. Try again in a few seconds.")
WRONG_PASSWORD: Final = Message("This is not your current password. Please type it again.")
WRONG_CODE: Final = Message("This code is wrong, or it was used already. Wait for the next one.")
WRONG_RECOVERY_CODE: Final = Message("This recovery code is wrong, or it was used already.")
ROLE_NAME_TAKEN: Final = Message("There is already a role with this name. Please choose another.")
BREACHED: Final = Message("This password has appeared in a data breach. Please choose another.")
OTHER_DOMAIN: Final = Message("Use an email of {domain}.")
OTHER_DOMAINS: Final = Message("Use an email of one of these domains: {domains}.")


class FormFailure(NamedTuple):
    """The response's status and its Retry-After in seconds."""

    status: int
    retry_after: int | None = None


def apply_error(
    request: Request, form: Form[Any], error: AppError, sentences: Mapping[type[AppError], str]
) -> FormFailure:
    """Adds the message for the error to the form, and logs failures of the service.

    The sentence for RateLimited may contain `{wait}`. The message for a breached password is always
    the same and belongs to its field; that of a hook is its own. Raises any other error again.
    """
    match error:
        case BreachedPassword():
            form.add_error("password", BREACHED)
            return FormFailure(422)
        case Refused():
            form.message = error.message
            return FormFailure(422)
        case RateLimited():
            form.message = sentences[RateLimited].format(wait=wait(error.retry_after))
            return FormFailure(429, error.retry_after)
        case Unavailable():
            log_unavailable(request, error)
            form.message = sentences[Unavailable]
            return FormFailure(503, error.retry_after)
        case AccountNotCreated():
            log_failure(request, error)
            form.message = sentences[AccountNotCreated]
            return FormFailure(500)
    raise error


def refuse_other_domains(form: Form[Any], email: str, domains: Sequence[str]) -> bool:
    """Adds an error that names the allowed domains unless the email has one of them.

    Returns whether it did. No domains allow every email.
    """
    if is_allowed_domain(email, domains):
        return False
    texts = [_domain_text(domain) for domain in domains]
    if len(texts) == 1:
        form.add_error("email", OTHER_DOMAIN.format(domain=texts[0]))
    else:
        form.add_error("email", OTHER_DOMAINS.format(domains=", ".join(texts)))
    return True


def _domain_text(domain: str) -> str:
    """Returns a domain as users type it; `*.example.com` stands for its sub-domains."""
    shown = display_email(f"x@{domain.removeprefix('.')}").rpartition("@")[2]
    return f"*.{shown}" if domain.startswith(".") else shown
