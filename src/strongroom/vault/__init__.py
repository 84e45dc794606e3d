"""What must not leak: secrets and personal values, sealed under keys that a KMS guards."""
