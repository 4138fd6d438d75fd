"""The forms of the product: one schema per form, and the rules of its fields."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel

from web.forms.fields import Input, field_error, require_single_line

MAX_TITLE_CHARS: Final = 100
MAX_URL_CHARS: Final = 2000


def _url(text: str) -> str:
    """Returns the trimmed URL. Refuses other schemes, since `javascript:` would run a script."""
    url = text.strip()
    if not re.fullmatch(r"https?://[!-~]+", url):
        raise field_error("Enter a URL that starts with https:// or http://.")
    if len(url) > MAX_URL_CHARS:
        raise field_error(f"URL must be at most {MAX_URL_CHARS} characters long.")
    return url


def _title(text: str) -> str:
    title = require_single_line(text.strip())
    if not title:
        raise field_error("Enter a title.")
    if len(title) > MAX_TITLE_CHARS:
        raise field_error(f"Title must be at most {MAX_TITLE_CHARS} characters long.")
    return title


# `Input` has the attributes of the <input> element.
Url = Annotated[
    str,
    AfterValidator(_url),
    Input({"type": "url", "required": True, "autocomplete": "off", "spellcheck": "false"}),
]
Title = Annotated[
    str,
    AfterValidator(_title),
    Input({"type": "text", "required": True, "autocomplete": "off"}),
]


class BookmarkForm(BaseModel):
    url: Url
    title: Title
