"""The checkout page in a real Chromium."""
