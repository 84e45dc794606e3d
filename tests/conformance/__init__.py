"""One suite for every gateway's adapter: what each operation answers to whatever can happen."""
