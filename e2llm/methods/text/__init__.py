"""Text: rivals that read a part of the text, for as many decoder positions as E2LLM."""
