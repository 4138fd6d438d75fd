"""Shows an error of a submit in its form, with the typed values."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from starlette.requests import Request

from db.errors import AccountNotCreated, AppError, BreachedPassword, RateLimited, Unavailable
from web.forms.form import Form
from web.observability.logs import log_failure, log_unavailable
from web.rendering.formatting import wait

BREACHED: Final = "This password has appeared in a data breach. Please choose another."


class FormFailure(NamedTuple):
    """How the answer says it to programs: the status, and in how many seconds to come again."""

    status: int
    retry_after: int | None = None


def apply_error(
    request: Request, form: Form[Any], error: AppError, sentences: Mapping[type[AppError], str]
) -> FormFailure:
    """Put the sentence for the refusal into the form, and tell the log where the fault is ours.

    A sentence may say `{wait}`. A breached password has the same sentence everywhere, beside its
    field.
    """
    match error:
        case BreachedPassword():
            form.add_error("password", BREACHED)
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
