"""Read documents far longer than the window."""
