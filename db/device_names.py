"""The names of browsers, tools and systems that may be stored and shown.

A client chooses its User-Agent freely, and a failed log-in shows it to the user of the account.
Only names from these tables are stored in the audit log or shown, so that no client can place a
message there.
"""

from typing import Final

from db.messages import Message

UNKNOWN: Final = Message("Unknown browser")
ON_SYSTEM: Final = Message("{browser} on {system}")
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
    """Returns the name if it is a known browser or tool, else `Unknown browser`."""
    return browser if browser in NAMES else UNKNOWN


def known_system(system: str) -> str:
    """Returns the name if it is a known system, else an empty string."""
    return system if system in SYSTEMS else ""


def describe_device(browser: str, system: str) -> Message:
    """Returns a message such as `Firefox on Linux`, or the browser alone if the system is unknown.

    Returns an empty message if there is no browser.
    """
    if not browser:
        return Message("")
    name, system = known_name(browser), known_system(system)
    if system:
        return ON_SYSTEM.format(browser=name, system=system)
    return Message(name)


def known_description(text: str) -> Message:
    """Returns a stored description as a message, with unknown names replaced.

    Entries of an earlier version may contain names that the client chose.
    """
    browser, _, system = text.partition(" on ")
    return describe_device(browser, system)
