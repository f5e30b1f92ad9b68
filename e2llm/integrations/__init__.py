"""Where other people's programs use this package; each file needs its own extra, and nothing else
imports it.
"""
