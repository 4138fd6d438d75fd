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
from web.forms.email_domains import is_allowed_domain
from web.forms.form import Form
from web.observability.logs import log_failure, log_unavailable
from web.rendering.display_email import display_email
from web.rendering.formatting import wait

EMAIL_TAKEN: Final = "An account with this email already exists."
UNKNOWN_ROLE: Final = "That role doesn't exist anymore. Choose another."
BUSY: Final = "We're busy. Try again in a few seconds."
WRONG_PASSWORD: Final = "This is not your current password. Please type it again."  # noqa: S105  (a message)
ROLE_NAME_TAKEN: Final = "There is already a role with this name. Please choose another."
BREACHED: Final = "This password has appeared in a data breach. Please choose another."
OTHER_DOMAIN: Final = "Use an email of {domains}."


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
    *others, last = (_domain_text(domain) for domain in domains)
    text = f"{', '.join(others)} or {last}" if others else last
    form.add_error("email", OTHER_DOMAIN.format(domains=text))
    return True


def _domain_text(domain: str) -> str:
    """Returns a domain as users type it."""
    shown = display_email(f"x@{domain.removeprefix('.')}").rpartition("@")[2]
    return f"a sub-domain of {shown}" if domain.startswith(".") else shown
