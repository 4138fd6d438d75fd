"""Second steps: passkeys, authenticator apps and recovery codes."""
