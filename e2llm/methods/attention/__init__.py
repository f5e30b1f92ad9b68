"""Attention: rivals that read all of the text, with an attention that looks at less of it."""
