"""The schema of the database of keys: plain SQL files, applied as those of the payments."""
