"""Tables -> figures, drawn by matplotlib, which is imported when the first one is drawn."""
