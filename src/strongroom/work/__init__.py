"""Getting things done in batches, and the worker that does what is due."""
