"""Tests of the clock that never goes back when the system clock does."""

from datetime import timedelta

import pytest

from db.clock import monotonic_clock
from tests.conftest import Clock

pytestmark = pytest.mark.reliability("R15")


def test_it_is_the_clock_that_it_was_given(clock: Clock) -> None:
    now = monotonic_clock(clock)
    for minutes in (0, 1, 60, 60 * 24 * 400):
        clock.move(minutes=minutes)
        assert now() == clock()


def test_where_the_clock_falls_back_it_goes_on(clock: Clock) -> None:
    now = monotonic_clock(clock)
    latest = now()
    for _ in range(3):
        clock.move(hours=-1)
        assert now() == latest
        clock.move(minutes=5)
        assert now() == latest + timedelta(minutes=5)
        latest = now()


def test_once_the_clock_is_there_again_it_is_right(clock: Clock) -> None:
    now = monotonic_clock(clock)
    latest = now()
    clock.move(hours=-1)
    now()
    clock.move(hours=1)
    assert now() == clock() == latest
    clock.move(minutes=1)
    assert now() == clock()
