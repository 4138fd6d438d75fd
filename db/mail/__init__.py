"""Contains the outbox of mails, hooks and webhooks, and the tokens of the links in mails."""
