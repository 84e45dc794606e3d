"""Tests that kill, stop or cut off real processes."""
