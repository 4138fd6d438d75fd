"""The hooks of the product: functions that run when an audited event of Latchkey happens.

`@on` runs inside the transaction of the change, and may refuse it by raising
`db.errors.Refused`. `@after` runs once the change is committed. This one would add a bookmark to
every new account:

    from db.hooks import HookEvent, on
    from db.store import Store
    from tests.example_product.access.bookmarks import ADD

    @on("signup")
    async def add_first_bookmark(store: Store, event: HookEvent) -> None:
        first = {"url": "https://example.com/help", "title": "How to use this site"}
        values = {"bookmark_id": store.token(16), "user_id": event.target_id, **first}
        await store.value(ADD(**values, now=store.now()))
"""
