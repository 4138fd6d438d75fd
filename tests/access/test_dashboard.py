"""Tests the data of the dashboards, without HTTP. Their statements select no secrets."""

from datetime import date

import pytest

from db.access import dashboard, devices, security
from db.viewer import Viewer
from tests.browser_client import Browser
from tests.conftest import TestApp

STATEMENTS = {
    "figures": dashboard.FIGURES,
    "sign-ups": dashboard.SIGN_UPS,
    "activity": dashboard.ACTIVITY,
    "events": dashboard.LATEST_EVENTS,
    "security": security.STATE,
    "devices": devices.DEVICES,
}


@pytest.mark.guide("T12", "D4", "D23", "D25")
@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS)
def test_no_secret_is_ever_selected(statement: object) -> None:
    selected = {column.name for column in statement.clause.selected_columns}
    assert not selected & {
        "password_hash",
        "token_hash",
        "disabled_at",
        "sessions_ended_at",
        "user_agent",
    }


@pytest.mark.guide("D21")
def test_a_viewer_cannot_be_constructed_directly() -> None:
    with pytest.raises(TypeError):
        Viewer()
    with pytest.raises(TypeError, match="may create a viewer"):
        Viewer(*[None] * len(Viewer.__dataclass_fields__))


@pytest.mark.guide("D26")
async def test_sign_ups_are_counted_per_day(app: TestApp, ada: Browser, admin: object) -> None:
    for days, name in ((1, "Alice"), (0, "Bob"), (3, "Charlie")):
        app.clock.move(days=days)
        await app.create(name)
    days = await dashboard.count_sign_ups_by_day(admin)
    assert len(days) == 14
    assert {day.start.date().isoformat(): (day.count, day.height) for day in days if day.count} == {
        "2026-11-24": (1, 0.5),
        "2026-11-25": (2, 1.0),
        "2026-11-28": (1, 0.5),
    }
    assert days[-1].start.date() == date(2026, 11, 28)


async def test_a_sign_up_a_week_ago_is_not_counted_for_this_week(
    app: TestApp, ada: Browser, admin: object
) -> None:
    app.clock.move(days=7)
    await app.create("Alice")
    figures = await dashboard.get_figures(admin)
    assert (figures.users, figures.week, figures.sessions) == (2, 1, 0)
    assert (figures.users_before, figures.week_before) == (1, 1)
