"""Compression: E2LLM, and the rivals that read something shorter made of the document."""
