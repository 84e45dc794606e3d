"""The table of operations, from which routes, OpenAPI and the page for readers are made."""
