"""The links of the product in the navigation bar."""

from web.menu import MenuItem

menu = [MenuItem(route="bookmarks", text="Bookmarks", after="dashboard")]
