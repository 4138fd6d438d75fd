"""Tests of the deletion and the download of an account without HTTP: the session may end while a
request waits for its transaction.
"""

from collections.abc import Awaitable, Callable

import pytest

from db.access import account_deletion, data_export
from db.errors import NotLoggedIn
from db.viewer import Viewer
from tests.browser_client import Browser
from tests.confirmations import confirmed
from tests.conftest import TestApp

CHANGES: dict[str, Callable[[Viewer], Awaitable[object]]] = {
    "delete": lambda viewer: account_deletion.request_deletion(confirmed(viewer)),
    "keep": account_deletion.keep_account,
    "download": lambda viewer: data_export.download_own(confirmed(viewer)),
}
ENDINGS = {
    "disabled": "UPDATE users SET disabled_at = created_at",
    "logged out": "DELETE FROM sessions",
    "expired": "UPDATE sessions SET expires_at = created_at",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
async def test_a_user_whose_session_has_ended_changes_nothing(
    app: TestApp, alice: Browser, change: Callable[[Viewer], Awaitable[object]], ending: str
) -> None:
    viewer = await app.viewer_of(alice)
    await app.change("UPDATE users SET delete_at = created_at", ending)
    before = [await app.rows(f"SELECT * FROM {table}") for table in ("users", "audit")]
    with pytest.raises(NotLoggedIn):
        await change(viewer)
    assert [await app.rows(f"SELECT * FROM {table}") for table in ("users", "audit")] == before
