"""The names of browsers, tools and systems that may be shown; anything else is an unknown browser.

A User-Agent is text that any client chooses, and a failed log-in puts it in front of the owner of
the account. Only names from these tables are stored in the audit log or shown, so that nobody can
write a message there.
"""

from typing import Final

UNKNOWN: Final = "Unknown browser"
BROWSERS: Final = frozenset(
    (
        "Amazon Silk",
        "Android browser",
        "Brave",
        "Chrome",
        "Chromium",
        "DuckDuckGo",
        "Edge",
        "Firefox",
        "Firefox Focus",
        "Firefox Klar",
        "GNOME Web",
        "Huawei Browser",
        "Internet Explorer",
        "Konqueror",
        "Mi Browser",
        "Opera",
        "Opera Mini",
        "Pale Moon",
        "QQ Browser",
        "Safari",
        "Samsung Internet",
        "SeaMonkey",
        "UC Browser",
        "Vivaldi",
        "Whale",
        "Yandex Browser",
    )
)
TOOLS: Final = frozenset(
    (
        "HTTPie",
        "Insomnia",
        "Java",
        "PostmanRuntime",
        "PowerShell",
        "Python-urllib",
        "Wget",
        "aiohttp",
        "axios",
        "curl",
        "Go-http-client",
        "node-fetch",
        "okhttp",
        "python-httpx",
        "python-requests",
    )
)
SYSTEMS: Final = frozenset(
    (
        "Android",
        "ChromeOS",
        "Debian",
        "Fedora",
        "FreeBSD",
        "KaiOS",
        "Linux",
        "NetBSD",
        "OpenBSD",
        "Tizen",
        "Ubuntu",
        "Windows",
        "iOS",
        "iPad",
        "iPhone",
        "macOS",
    )
)
NAMES: Final = BROWSERS | TOOLS


def known_name(browser: str) -> str:
    """Returns the name of a browser or tool if it may be shown."""
    return browser if browser in NAMES else UNKNOWN


def known_system(system: str) -> str:
    """Returns the name of a system if it may be shown, or the empty string."""
    return system if system in SYSTEMS else ""


def describe(browser: str, system: str) -> str:
    """Returns `Firefox on Linux`, or the name alone without a known system; empty if there is no
    browser at all.
    """
    if not browser:
        return ""
    browser, system = known_name(browser), known_system(system)
    return f"{browser} on {system}" if system else browser


def known_description(text: str) -> str:
    """Returns what `describe` may show of a description in an entry that an earlier
    version wrote.
    """
    browser, _, system = text.partition(" on ")
    return describe(browser, system)
