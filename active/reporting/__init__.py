"""The report of an experiment: sections of text, tables and figures, as a page and as files."""
