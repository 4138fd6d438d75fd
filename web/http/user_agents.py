"""Contains the tables that turn a User-Agent into browser, system and device type.

A library based on regular expressions blocked the event loop for 10 ms on a hostile text, and
raised ValueError on another. These tables search for fixed words in linear time, and no text of the
client is ever displayed.
"""

from typing import Final

from db.device_names import UNKNOWN

# The first match decides. Most browsers also name the browsers that they are compatible with.
BROWSER_TOKENS: Final = (
    ("Focus/", "Firefox Focus"),
    ("Klar/", "Firefox Klar"),
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("Edge/", "Edge"),
    ("Opera Mini/", "Opera Mini"),
    ("OPR/", "Opera"),
    ("OPT/", "Opera"),
    ("OPiOS/", "Opera"),
    ("Opera/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Vivaldi/", "Vivaldi"),
    ("YaBrowser/", "Yandex Browser"),
    ("UCBrowser/", "UC Browser"),
    ("MiuiBrowser/", "Mi Browser"),
    ("HuaweiBrowser/", "Huawei Browser"),
    ("QQBrowser/", "QQ Browser"),
    ("Silk/", "Amazon Silk"),
    ("Whale/", "Whale"),
    ("DuckDuckGo/", "DuckDuckGo"),
    ("Ddg/", "DuckDuckGo"),
    ("Brave/", "Brave"),
    ("PaleMoon/", "Pale Moon"),
    ("SeaMonkey/", "SeaMonkey"),
    ("Konqueror/", "Konqueror"),
    ("Epiphany/", "GNOME Web"),
    ("FxiOS/", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chromium/", "Chromium"),
    ("HeadlessChrome/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("MSIE ", "Internet Explorer"),
    ("Trident/", "Internet Explorer"),
)
TOOL_TOKENS: Final = (
    ("curl/", "curl"),
    ("Wget/", "Wget"),
    ("HTTPie/", "HTTPie"),
    ("PostmanRuntime/", "PostmanRuntime"),
    ("insomnia/", "Insomnia"),
    ("aiohttp/", "aiohttp"),
    ("python-httpx/", "python-httpx"),
    ("python-requests/", "python-requests"),
    ("Python-urllib/", "Python-urllib"),
    ("Go-http-client/", "Go-http-client"),
    ("Java-http-client/", "Java"),
    ("Java/", "Java"),
    ("okhttp/", "okhttp"),
    ("axios/", "axios"),
    ("node-fetch", "node-fetch"),
    ("PowerShell/", "PowerShell"),
)
SYSTEM_TOKENS: Final = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Tizen", "Tizen"),
    ("KAIOS", "KaiOS"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Macintosh", "macOS"),
    ("Mac OS X", "macOS"),
    ("Ubuntu", "Ubuntu"),
    ("Fedora", "Fedora"),
    ("Debian", "Debian"),
    ("FreeBSD", "FreeBSD"),
    ("OpenBSD", "OpenBSD"),
    ("NetBSD", "NetBSD"),
    ("Linux", "Linux"),
)


def parse_user_agent(user_agent: str) -> tuple[str, str, str]:
    """Returns browser, system and device type, such as `("Firefox", "Linux", "computer")`.

    Device types are computer, phone, tablet, terminal and unknown. The system is an empty string if
    no word of the table matches.
    """
    if not user_agent.startswith(("Mozilla/", "Opera/")):
        tool = _find_first(TOOL_TOKENS, user_agent)
        return (tool, "", "terminal") if tool else (UNKNOWN, "", "unknown")
    system = _find_first(SYSTEM_TOKENS, user_agent)
    browser = _find_first(BROWSER_TOKENS, user_agent) or _webkit(user_agent, system) or UNKNOWN
    return browser, system, _device_type(system, user_agent)


def _find_first(table: tuple[tuple[str, str], ...], text: str) -> str:
    return next((name for word, name in table if word in text), "")


def _webkit(user_agent: str, system: str) -> str:
    """Returns the system's WebKit browser.

    Safari and the old browser of Android have no token of their own.
    """
    if "AppleWebKit/" not in user_agent:
        return ""
    return {
        "Android": "Android browser",
        "macOS": "Safari",
        "iPhone": "Safari",
        "iPad": "Safari",
    }.get(system, "")


def _device_type(system: str, user_agent: str) -> str:
    if system in ("iPhone", "KaiOS") or (system == "Android" and "Mobile" in user_agent):
        return "phone"
    if system in ("iPad", "Android"):
        return "tablet"
    return "computer" if system else "unknown"
