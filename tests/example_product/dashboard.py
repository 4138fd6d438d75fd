"""The cards of the product on the dashboards."""

from tests.example_product.access import bookmarks
from web.product import DashboardCard

user_cards = [DashboardCard(bookmarks.list_newest, "bookmarks/card.html")]
admin_cards = [DashboardCard(bookmarks.count_bookmarks, "bookmarks/totals.html")]
