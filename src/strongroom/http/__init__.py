"""The way in: a small front door for the accept request, and Litestar for everything."""
