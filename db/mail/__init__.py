"""Contains the outbox of mails, and the tokens of their links."""
