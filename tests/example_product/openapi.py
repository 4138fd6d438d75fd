"""The paths of the product in the OpenAPI document at /api/openapi.json."""

from typing import Any, Final

TEXT: Final = {"type": "string"}
BOOKMARK: Final = {
    "type": "object",
    "properties": {
        "id": TEXT,
        "url": TEXT,
        "title": TEXT,
        "created_at": {"type": "string", "format": "date-time"},
    },
    "required": ["id", "url", "title", "created_at"],
}
BOOKMARK_LIST: Final = {
    "type": "object",
    "properties": {"bookmarks": {"type": "array", "items": BOOKMARK}},
    "required": ["bookmarks"],
}
PROBLEM: Final = {
    "content": {
        "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}},
    }
}
PATHS: Final[dict[str, Any]] = {
    "/api/bookmarks": {
        "get": {
            "operationId": "bookmarks",
            "summary": "The bookmarks of the caller",
            "responses": {
                "200": {
                    "description": "OK",
                    "content": {"application/json": {"schema": BOOKMARK_LIST}},
                },
                "401": {"description": "Not logged in", **PROBLEM},
                "503": {"description": "The database does not answer", **PROBLEM},
            },
        }
    }
}
