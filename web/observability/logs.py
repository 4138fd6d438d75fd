"""Contains logging: to standard error, in UTC, one line per event, without personal data."""

import json
import logging
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from traceback import format_tb
from types import TracebackType
from typing import Final

from jinja2 import TemplateError
from starlette.requests import Request
from starlette.types import Scope

from web.state import app_state, request_state

logger = logging.getLogger("latchkey")

# The identifier of the request in the current context.
request_id: Final[ContextVar[str]] = ContextVar("request_id", default="")
MAX_MESSAGE_CHARS: Final = 2000
MAX_CAUSES: Final = 8
# The messages of these errors are about the program. Those of ValueError, KeyError and of database
# drivers may contain user input.
PROGRAM_ERRORS: Final = (
    AttributeError,
    ImportError,
    NameError,
    OSError,
    RuntimeError,
    TypeError,
    TemplateError,
    sqlite3.Error,
)
# The messages of these classes contain no values of rows (PostgreSQL documentation, appendix A).
SERVER_ERROR_CLASSES: Final = ("08", "25", "28", "3D", "40", "42", "53", "55", "57", "58")


def start_logging(*, as_json: bool) -> None:
    """Configures logging. Libraries log only warnings and errors, and uvicorn only errors.

    uvicorn's warnings are about malformed requests.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logger.setLevel(logging.INFO)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    logging.captureWarnings(True)
    # Otherwise, logging would print the arguments of a record that it cannot write.
    logging.raiseExceptions = False
    sys.excepthook = _log_crash


@contextmanager
def logging_of_package(*, as_json: bool) -> Iterator[None]:
    """Writes the messages of the logger `latchkey` in its own format until the block ends.

    The configuration of other loggers belongs to the parent application. Its format would write the
    messages of exceptions, which may contain personal data. A handler that the parent has added to
    the logger `latchkey` is used instead.
    """
    if logger.handlers:
        yield
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    level, propagates = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates


def request_reference(request: Request) -> str:
    """Returns the identifier of the request, which its error page and its log lines contain."""
    return request_state(request.scope).get("request_id", "")


def log_notice(notice: str) -> None:
    """Logs a notice of the start, as a warning if it begins with `warning: `."""
    level = logging.WARNING if notice.startswith("warning: ") else logging.INFO
    logger.log(level, "%s", notice.removeprefix("warning: "))


def log_unavailable(request: Request, error: Exception) -> None:
    """Logs that the database is unavailable, at most once a minute.

    Every request fails during an outage. An error without a cause is an overload and not logged.
    """
    suppression = app_state(request.scope).log_suppression
    if error.__cause__ is not None and suppression.allow_unavailable():
        logger.warning("the database is unavailable: %s", describe_error(error.__cause__))


def warn_of_untrusted_proxy(scope: Scope) -> None:
    """Warns once per process that all clients of an undeclared proxy share one rate limit."""
    if app_state(scope).log_suppression.allow_proxy_warning():
        logger.warning(
            "X-Forwarded-For is ignored, because TRUSTED_PROXIES does not name the "
            "IP address that sent it"
        )


def warn_of_foreign_origin(scope: Scope, origin: str) -> None:
    """Warns that a form was refused, because BASE_URL may be wrong.

    Logs each origin once, and only a few origins, because an attacker can send any number.
    """
    state = app_state(scope)
    if state.log_suppression.allow_origin_warning(origin):
        logger.warning(
            "a form from %s was refused: BASE_URL is %s",
            printable(origin),
            state.settings.base_url,
        )


def warn_of_wrong_mount(root_path: str, base_path: str) -> None:
    """Warns that the application is mounted at another path than BASE_PATH, and so answers 404."""
    logger.warning(
        "every request gets 404: the application is mounted at %s, and BASE_PATH is %s",
        printable(root_path),
        base_path or "empty",
    )


def log_failure(request: Request, error: Exception) -> None:
    """Logs a failed request, and at most MAX_LOGGED_FAILURES per FAILURE_WINDOW_SECONDS.

    Logs the path of the route and the user's id, because the path of the request may contain a
    user's name.
    """
    suppression = app_state(request.scope).log_suppression
    if not suppression.allow_failure():
        return
    if left_out := suppression.pop_failures_left_out():
        logger.error("%d more failed requests were not logged", left_out)
    route = request.scope.get("route")
    claims = request_state(request.scope).get("claims")
    path = getattr(route, "path", "(no such page)")
    user = {"user": claims.user_id if claims else ""}
    logger.error(
        "%s %s failed, reference %s",
        request.method,
        path,
        request_reference(request),
        exc_info=error,
        extra=user,
    )


def describe_error(error: BaseException) -> str:
    """Returns the type of an error, and its message unless that may contain personal data."""
    error_type = type(error)
    name = (
        error_type.__qualname__
        if error_type.__module__ == "builtins"
        else f"{error_type.__module__}.{error_type.__qualname__}"
    )
    text_of_error = _error_text(error)
    return f"{name}: {text_of_error}" if text_of_error else name


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON in ASCII.

    Its fields are `time`, `level`, `logger`, `message` and, if known, `request_id`, `user` (an id)
    and `exception`.
    """

    def format(self, record: logging.LogRecord) -> str:
        event = _event(record)
        if trace := [*_trace(record)]:
            event["exception"] = "\n".join(trace)
        return json.dumps(event)


class TextFormatter(logging.Formatter):
    """Formats a record as text.

    Indents each line after the first, so that its content cannot look like another event (log
    injection).
    """

    def format(self, record: logging.LogRecord) -> str:
        event = _event(record)
        about = " ".join(event[name] for name in ("request_id", "user") if name in event)
        about = f" [{about}]" if about else ""
        head = f"{event['time']} {event['level']} {event['logger']}{about}: {event['message']}"
        return "\n".join([head, *(f"    {line}" for line in _trace(record))])


def _event(record: logging.LogRecord) -> dict[str, str]:
    moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    event = {
        "time": moment.replace("+00:00", "Z"),
        "level": record.levelname,
        "logger": record.name,
        "message": printable(_message(record)),
        "request_id": request_id.get(),
        "user": getattr(record, "user", ""),
    }
    return {name: value for name, value in event.items() if value}


def _message(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except Exception:  # The arguments do not match the format, or their __str__ raises.
        text = str(record.msg)
    text = text.strip()
    # The further lines of asyncio's messages contain the messages of exceptions.
    return text.partition("\n")[0] if record.name == "asyncio" else text


def _trace(record: logging.LogRecord) -> Iterator[str]:
    """Yields the lines of the traceback, the first cause first, with filtered messages."""
    error = record.exc_info[1] if record.exc_info else None
    for number, cause in enumerate(reversed(_causes(error))):
        if number:
            yield "and then:"
        yield from _frames(cause.__traceback__)
        yield printable(describe_error(cause))
        for inner in cause.exceptions if isinstance(cause, BaseExceptionGroup) else ():
            yield from (
                f"  {line}"
                for line in (*_frames(inner.__traceback__), printable(describe_error(inner)))
            )


def _causes(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and len(chain) < MAX_CAUSES:
        chain.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return chain


def _frames(trace: TracebackType | None) -> Iterator[str]:
    yield "Traceback (most recent call last):"
    yield from (printable(line) for line in "".join(format_tb(trace)).rstrip("\n").split("\n"))


def _error_text(error: BaseException) -> str:
    """Returns the message of an error, or an empty string if it may contain personal data.

    For a PostgreSQL error, returns its code and names, without DETAIL, which contains values of the
    row.
    """
    code = getattr(error, "sqlstate", None)
    if isinstance(code, str):
        about = [getattr(error, f"{item}_name", None) for item in ("table", "column", "constraint")]
        text_of_error = (
            str(error.args[0]) if code.startswith(SERVER_ERROR_CLASSES) and error.args else ""
        )
        return " ".join(str(part) for part in (code, *about, text_of_error) if part)
    return str(error) if isinstance(error, PROGRAM_ERRORS) else ""


def printable(text: str) -> str:
    """Returns the text with escaped unprintable characters, shortened to MAX_MESSAGE_CHARS.

    Line ends would forge log lines; escape sequences and direction marks would change a terminal.
    """
    if len(text) > MAX_MESSAGE_CHARS:
        text = text[:MAX_MESSAGE_CHARS] + "…"
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def _log_crash(
    error_type: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    logger.critical("unhandled exception, exiting", exc_info=(error_type, error, trace))
