"""Pytest plugins of this repository; the root conftest.py loads them."""
