"""Alarms: what no machine may go on with, raised once and kept until a person has cleared it."""
