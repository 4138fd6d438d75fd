"""Contains the delivery of the messages in the outbox: mails, hooks and webhooks."""
