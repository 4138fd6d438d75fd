"""Tests the access to devices, without HTTP. The WHERE of each statement is the authorization."""

import pytest

from db.access import devices
from db.errors import NotFound, NotLoggedIn
from db.viewer import Viewer
from tests.browser_client import Browser
from tests.conftest import TestApp


@pytest.mark.guide("C1", "C7")
async def test_this_device_comes_first_and_the_last_seen_next(
    app: TestApp, alice: Browser, viewer: Viewer, alices_phone: Browser
) -> None:
    app.clock.move(minutes=10)
    laptop = await app.browser("Alice", user_agent="curl/8.5.0")
    await laptop.log_in()
    listed = await devices.list_devices(viewer)
    assert [(device.name, device.current) for device in listed] == [
        ("Firefox on Linux", True),
        ("curl", False),
        ("Safari on iPhone", False),
    ]


@pytest.mark.asvs("S05")
@pytest.mark.guide("D20")
async def test_another_users_device_is_not_found(
    app: TestApp, viewer: Viewer, bob: Browser
) -> None:
    ((bobs_device,),) = await app.rows(
        "SELECT s.id FROM sessions s JOIN users u ON u.id = s.user_id WHERE u.name = 'Bob'"
    )
    for device_id in (bobs_device, "unknown"):
        with pytest.raises(NotFound):
            await devices.revoke_device(viewer, device_id)
    assert await bob.is_logged_in()


@pytest.mark.guide("C8", "B1")
async def test_revoking_devices_does_not_affect_other_users(
    app: TestApp, viewer: Viewer, alices_phone: Browser, bob: Browser
) -> None:
    assert await devices.revoke_others(viewer) == 1
    await devices.revoke_all(viewer)
    assert await app.count("sessions") == 1
    assert await bob.is_logged_in()


@pytest.mark.asvs("S01")
@pytest.mark.parametrize("revoke", ["one", "others", "all"])
@pytest.mark.parametrize(
    "ending", ["DELETE", "UPDATE sessions SET expires_at = created_at"], ids=["ended", "expired"]
)
async def test_an_ended_session_cannot_revoke_another(
    app: TestApp, alice: Browser, alices_phone: Browser, revoke: str, ending: str
) -> None:
    viewer = await app.viewer_of(alice)
    phone = (await app.viewer_of(alices_phone)).session_id
    ending = ending.replace("DELETE", "DELETE FROM sessions") + f" WHERE id <> '{phone}'"
    await app.change(ending)
    before = await app.rows("SELECT * FROM sessions")
    with pytest.raises(NotLoggedIn):
        if revoke == "one":
            await devices.revoke_device(viewer, phone)
        else:
            await {"others": devices.revoke_others, "all": devices.revoke_all}[revoke](viewer)
    assert await app.rows("SELECT * FROM sessions") == before
    assert await alices_phone.is_logged_in()
