"""What the program writes about itself: to standard error, in UTC, one line an event, with no personal data."""

import logging
import sys
import time
from typing import Final

from starlette.requests import Request

logger = logging.getLogger("latchkey")

BUSY_EVERY: Final = 60.0  # seconds


def start_logging() -> None:
    """Readable lines on standard error; the libraries speak only when something is wrong."""
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logger.setLevel(logging.INFO)


def reference(request: Request) -> str:
    """What ties an error page to its lines in the log."""
    return str(getattr(request.state, "request_id", ""))


def log_busy(request: Request, error: Exception) -> None:
    """The database or the disk was not to be had: once a minute is enough, for it concerns everybody."""
    state = request.app.state
    if error.__cause__ is not None and time.monotonic() - getattr(state, "busy_logged_at", -BUSY_EVERY) >= BUSY_EVERY:
        state.busy_logged_at = time.monotonic()
        logger.warning("the database is not to be had: %s: %s", type(error.__cause__).__name__, error.__cause__)


def log_failure(request: Request, error: Exception) -> None:
    """One request failed. Its path is written without the query, and what was typed not at all."""
    path = str(request.scope["path"]).encode("unicode_escape").decode()
    logger.error("%s %s failed, reference %s", request.method, path, reference(request), exc_info=error)
