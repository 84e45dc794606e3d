-- One payment a transaction, as one call of a function on the server that does plain inserts.
\set amount random(100, 500000)
SELECT bench_accept_plain(:entity, :account, :bucket, :amount);
