"""Images, and which of them are labeled."""
