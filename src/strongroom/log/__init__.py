"""The log of each legal entity: what happened, in one order, that an outsider can check."""
