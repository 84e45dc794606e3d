"""Loads the plugins of this repository's tests, from whatever folder pytest is started."""

pytest_plugins = [
    "tests.plugins.memory",
    "tests.plugins.parts",
    "tests.plugins.short",
    "tests.plugins.kms",
]
