"""Where other people's programs use this package, each with an extra of its own.

Nothing else imports it.
"""
