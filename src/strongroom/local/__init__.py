"""What `strongroom up` needs on one machine: an own PostgreSQL and its supervision."""
