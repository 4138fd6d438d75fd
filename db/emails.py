"""Contains the function that makes emails canonical."""

from functools import lru_cache

from email_validator import EmailNotValidError, validate_email


@lru_cache(256)  # The live checks and the submit of a form validate the same email.
def canonical_email(email: str) -> str | None:
    """Returns the form of an email that is stored and looked up; None if the email is not valid.

    The local part is in ASCII lower case, and the domain is in IDNA. email-validator normalizes
    (NFC, UTS 46) before it validates. The reverse order is the vulnerability GHSA-7rqj-j65f-68wh.
    """
    try:
        valid = validate_email(email, check_deliverability=False, allow_smtputf8=False)
    except EmailNotValidError:
        return None
    return f"{valid.local_part.lower()}@{(valid.ascii_domain or valid.domain).lower()}"
