"""Contains the function that adds the message of an error to the submitted form."""

from collections.abc import Mapping
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
from web.forms.form import Form
from web.observability.logs import log_failure, log_unavailable
from web.rendering.formatting import wait

BREACHED: Final = "This password has appeared in a data breach. Please choose another."


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
