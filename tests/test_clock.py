"""Tests of the clock that never goes back when the system clock does."""

from datetime import timedelta

import pytest

from db.clock import monotonic_clock
from tests.conftest import Clock

pytestmark = pytest.mark.reliability("R15")


def test_the_clock_follows_the_system_clock(clock: Clock) -> None:
    now = monotonic_clock(clock)
    for minutes in (0, 1, 60, 60 * 24 * 400):
        clock.move(minutes=minutes)
        assert now() == clock()


def test_the_clock_advances_when_the_system_clock_goes_back(clock: Clock) -> None:
    now = monotonic_clock(clock)
    latest = now()
    for _ in range(3):
        clock.move(hours=-1)
        assert now() == latest
        clock.move(minutes=5)
        assert now() == latest + timedelta(minutes=5)
        latest = now()


def test_the_clock_is_right_once_the_system_clock_has_caught_up(clock: Clock) -> None:
    now = monotonic_clock(clock)
    latest = now()
    clock.move(hours=-1)
    now()
    clock.move(hours=1)
    assert now() == clock() == latest
    clock.move(minutes=1)
    assert now() == clock()
