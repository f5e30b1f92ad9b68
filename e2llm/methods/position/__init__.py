"""Position: rivals that read all of the text, in a window widened by slower rotary positions."""
