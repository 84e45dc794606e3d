"""Customers: the data subjects that pay, each sealed under a key of its own."""
