-- One payment a transaction, as one call of a function on the server.
\set amount random(100, 500000)
SELECT bench_accept(:entity, :account, :bucket, :amount);
