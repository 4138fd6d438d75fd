"""The brand of the product: its name, its drawings, its colors and its texts."""

from dataclasses import replace

from web.brand import DARK, LIGHT, Brand, Landing, Mark, Step

brand = Brand(
    name="Bookshelf",
    description="{name} keeps your bookmarks, on every device that you log in with.",
    footer="Made with {name}.",
    mark=Mark("M6 3.5h12v17l-6-4.5-6 4.5z", 24, 24),
    has_key_drawings=False,
    # All other colors are those of Latchkey.
    light=replace(LIGHT, accent="#9fd3c7", panel="#9fd3c7"),
    dark=replace(DARK, accent="#7fc1b2", drawing="#7fc1b2"),
    landing=Landing(
        title="Your bookmarks, everywhere",
        headline="Your bookmarks, everywhere.",
        lead="{name} keeps the pages that you want to find again. Log in on any device, and they "
        "are there.",
        steps=(
            Step("Save a page", "Paste its URL and give it a title. That is all."),
            Step("Find it again", "Your list is on every device that you log in with."),
            Step("It is yours", "Nobody else sees your bookmarks, and you can delete them."),
        ),
        devices_heading="Log out from anywhere",
        closing_heading="Start your list",
    ),
)
