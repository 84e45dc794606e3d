"""The SQL contract: what statements may say, what the schema may hold, how statements run."""
