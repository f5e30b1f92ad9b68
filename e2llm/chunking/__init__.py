"""Where a text is cut: by size, or where neighbouring sentences part."""
