"""One section of the report a file: what was read -> a Section."""
