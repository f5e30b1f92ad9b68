"""Typed errors, whose messages are one line: the argument, its value, the rule, the way out.

The command line prints the message without a traceback and exits with `exit_code`:
2 for the user's mistake, 1 for a failure.
"""


class E2LLMError(Exception):
    """Base of every error that is raised on purpose; a failure unless a subclass says otherwise."""

    exit_code = 1


class UserError(E2LLMError, ValueError):
    """An argument breaks a rule; the message says which, and the way out."""

    exit_code = 2


class ReadError(UserError):
    """A file cannot be read as a document: missing, empty, binary, encrypted, another encoding."""


class WindowError(UserError):
    """A prompt needs more decoder positions than the decoder's window holds."""


class MissingPackageError(UserError):
    """An optional package is needed; the message names the command that installs it."""


class StaleDocumentError(UserError):
    """A compressed document was made by another model than the one that is asked to read it."""


class CorruptDocumentError(E2LLMError):
    """A compressed document's file is truncated or damaged."""


class LibraryError(E2LLMError):
    """The library on disk cannot be read or written."""
