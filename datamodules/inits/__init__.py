"""One file for each kind of initial pool: from scores, clusters, features, a table; controls."""
