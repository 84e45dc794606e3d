"""Who may do what: API keys and legal entities."""
