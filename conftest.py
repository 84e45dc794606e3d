"""Loads the plugins of this repository's tests, from whatever folder pytest is started."""

pytest_plugins = ["tests.plugins.parts", "tests.plugins.kms"]
