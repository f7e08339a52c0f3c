"""Active learning: train, test, query, label, again."""
