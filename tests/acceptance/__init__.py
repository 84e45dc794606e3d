"""Every page, command and example of the documentation is run, or checked by name."""
