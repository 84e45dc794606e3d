"""Webhooks by the million: duplicated, shuffled, late before early, while payments go on."""
