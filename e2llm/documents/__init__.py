"""Documents: files read into text, and compressed documents kept on disk."""
