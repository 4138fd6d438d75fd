"""The routes of the product, with the users who may call them."""

from tests.example_product.endpoints import bookmarks
from tests.example_product.forms import BookmarkForm
from web.router import Members

# fmt: off
routes = [
    Members("/bookmarks",                    get=bookmarks.show,         post=bookmarks.add,    name="bookmarks"),
    Members("/bookmarks/check/{field}",                                  post=bookmarks.check,  name="bookmarks-check", form=BookmarkForm),
    Members("/bookmarks/{id}",               get=bookmarks.edit,         post=bookmarks.change, name="bookmark"),
    Members("/bookmarks/{id}/check/{field}",                             post=bookmarks.check,  name="bookmark-check", form=BookmarkForm),
    Members("/bookmarks/{id}/delete",                                    post=bookmarks.delete, name="bookmark-delete"),
    Members("/api/bookmarks",                get=bookmarks.list_as_json,                        name="api-bookmarks"),
]
# fmt: on
