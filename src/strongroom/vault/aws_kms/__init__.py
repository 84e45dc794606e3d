"""The KMS of Amazon Web Services, by their SDK."""
