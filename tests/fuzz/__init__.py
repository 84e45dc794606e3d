"""Schemathesis against a running deployment: random walks through everything the API can do."""
