"""Findings that are false positives, with the reasons.

A finding that matches no entry is open.
"""

import re

from tests.attack.outcome import Finding

FALSE = (
    (
        "wapiti",
        r"Cross Site Request Forgery: Lack of anti CSRF token at .*",
        "it looks for a hidden field by its name. Here an unsafe request is held to `Sec-Fetch-Site` and `Origin` "
        "instead, before anybody reads it, and the cookie is `SameSite=Lax`: `tests/test_cross_origin.py` sends each "
        "form from elsewhere and gets 403.",
    ),
    (
        "wapiti",
        r"Unencrypted Channels: .*",
        "the program listens on loopback here, the only place where it takes `http`: with any other `BASE_URL` that is "
        "not `https` it refuses to start, and the redirect is the proxy's (`deploy/nginx.conf`).",
    ),
    (
        "wapiti",
        r"Secure Flag cookie: .*",
        "there is no `Secure` on loopback `http`, where not every browser would keep such a cookie. Over `https`, and "
        "that is everywhere else, it is `__Host-session` and `Secure` (`tests/test_session_cookie.py`).",
    ),
    (
        "wapiti",
        r"LDAP Injection: .*",
        "there is no directory service in the program, and no library that speaks to one. The tool calls it an "
        "injection when the answer to its payload differs from the answers to two others; its payload holds a NUL, "
        "which is refused with a sentence of its own.",
    ),
    (
        "wapiti",
        r"HTTP Methods: Possible interesting methods \(using OPTIONS\) OPTIONS \(405\)( POST \(\d+\))? at .*",
        "it lists what is answered by something else than 404. `OPTIONS` is refused with 405 and `Allow`; `POST` is "
        "what the page's own form does.",
    ),
    (
        "wapiti",
        r"Review Webserver Metafiles for Information Leakage: .* at GET /robots\.txt",
        "`/robots.txt` is there to be read. It names no path that is secret.",
    ),
)


def judge(attack: str, finding: Finding) -> str | None:
    """Returns why the finding is a false positive, or None."""
    told = f"{finding.title}: {finding.seen}"
    reasons = (
        why
        for name, pattern, why in FALSE
        if name == attack and re.fullmatch(pattern, told, re.DOTALL)
    )
    return next(reasons, None)
