"""Contains the known false positives of the tools, with the reasons.

A finding that matches none of them is open.
"""

import re

from tests.attack.outcome import Finding

# Each entry has the attack, a pattern of the title and the details, and the reason.
FALSE_POSITIVES = (
    (
        "wapiti",
        r"Cross Site Request Forgery: Lack of anti CSRF token at .*",
        "the tool searches for a hidden field by its name. The program checks `Sec-Fetch-Site` and `Origin` of every "
        "unsafe request instead, and the cookie is `SameSite=Lax`. `tests/test_cross_origin.py` sends each form from "
        "another site and gets 403.",
    ),
    (
        "wapiti",
        r"Unencrypted Channels: .*",
        "the program accepts `http` on loopback only, as in this run. It refuses to start with any other `BASE_URL` that "
        "is not `https`; the proxy redirects (`deploy/nginx.conf`).",
    ),
    (
        "wapiti",
        r"Secure Flag cookie: .*",
        "on loopback `http` the cookie is not `Secure`, because some browsers would not store it. Over `https`, which is "
        "required elsewhere, it is `__Host-session` and `Secure` (`tests/test_session_cookie.py`).",
    ),
    (
        "wapiti",
        r"LDAP Injection: .*",
        "the program uses no LDAP, and no library for it. The tool reports an injection if the response to its payload "
        "differs from two other responses; its payload contains a NUL, which gets its own error message.",
    ),
    (
        "wapiti",
        r"HTTP Methods: Possible interesting methods \(using OPTIONS\) OPTIONS \(405\)( POST \(\d+\))? at .*",
        "the tool lists every method that does not return 404. `OPTIONS` gets 405 with `Allow`; `POST` is the method of "
        "the page's form.",
    ),
    (
        "wapiti",
        r"Review Webserver Metafiles for Information Leakage: .* at GET /robots\.txt",
        "`/robots.txt` is public and names no secret path.",
    ),
)


def find_false_positive(attack: str, finding: Finding) -> str | None:
    """Returns the reason why the finding is a false positive, or None if it is open."""
    text = f"{finding.title}: {finding.details}"
    for name, pattern, reason in FALSE_POSITIVES:
        if name == attack and re.fullmatch(pattern, text, re.DOTALL):
            return reason
    return None
