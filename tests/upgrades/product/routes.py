"""The routes of the product."""

from web.routes import Members

from .endpoints import bookmarks

routes = [
    Members("/bookmarks", get=bookmarks.show, post=bookmarks.submit, name="bookmarks"),
    Members("/api/bookmarks", get=bookmarks.show_json, name="api-bookmarks"),
]
