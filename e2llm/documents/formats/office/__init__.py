"""What Office files have in common: parts and relations, text on a line, blocks, numbers."""
