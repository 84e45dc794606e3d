"""A generator of load: it plays many callers of one Strongroom, over HTTP alone."""
