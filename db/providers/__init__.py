"""Log-in with other identity providers (OpenID Connect Core 1.0, and OAuth 2.0 for GitHub)."""
