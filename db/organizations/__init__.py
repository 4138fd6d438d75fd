"""Organizations whose users log in at an identity provider of their own."""
