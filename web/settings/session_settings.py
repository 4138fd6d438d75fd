"""Contains the function that reads the lifetimes of sessions."""

from datetime import timedelta
from typing import Final

from db.sessions.lifetimes import Lifetime, SessionLifetimes
from web.settings.durations import format_duration, read_duration
from web.settings.environment import Environment, InvalidSetting

SHORTEST: Final = "5m"
LONGEST: Final = "365d"  # Browsers delete a cookie after 400 days (RFC 6265bis, section 5.5).
REMEMBER: Final = ("SESSION_REMEMBER_IDLE", "SESSION_REMEMBER_MAX")


def read_session_lifetimes(env: Environment, *, stateless: bool) -> SessionLifetimes:
    """Returns the lifetimes of sessions. Raises InvalidSetting.

    The cookie of a stateless session has no claim for the choice to stay logged in.
    """
    idle = read_duration(env, "SESSION_IDLE", "7d", SHORTEST, LONGEST)
    longest = read_duration(env, "SESSION_MAX", "30d", SHORTEST, LONGEST)
    default = Lifetime(idle, _not_below("SESSION_MAX", longest, "SESSION_IDLE", idle))
    is_set = [name for name in REMEMBER if env.text(name, "")]
    if not is_set:
        return SessionLifetimes(default)
    if stateless:
        raise InvalidSetting(is_set[0], "needs SESSION_STRATEGY=database")
    idle = read_duration(env, "SESSION_REMEMBER_IDLE", format_duration(idle), SHORTEST, LONGEST)
    # A longer idle time alone must not exceed the default maximum, which it then raises.
    maximum = format_duration(max(idle, longest))
    longest = read_duration(env, "SESSION_REMEMBER_MAX", maximum, SHORTEST, LONGEST)
    remembered = Lifetime(
        _not_below("SESSION_REMEMBER_IDLE", idle, "SESSION_IDLE", default.idle),
        _not_below("SESSION_REMEMBER_MAX", longest, "SESSION_REMEMBER_IDLE", idle),
    )
    _not_below("SESSION_REMEMBER_MAX", longest, "SESSION_MAX", default.maximum)
    return SessionLifetimes(default, remembered)


def _not_below(name: str, value: timedelta, least_name: str, least: timedelta) -> timedelta:
    """Returns the value. Raises InvalidSetting if it is less than that of another variable."""
    if value < least:
        raise InvalidSetting(
            name,
            f"{format_duration(value)} is less than {least_name}, which is "
            f"{format_duration(least)}",
        )
    return value
