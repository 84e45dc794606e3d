"""The hosted page on which a customer pays: its links, its page, its own origin."""
