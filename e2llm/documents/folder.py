"""A library's folder: one file per document, named by its key. The files are the truth."""

import os
import re
import time
from contextlib import suppress
from pathlib import Path

from e2llm.documents.document_file import SUFFIX
from e2llm.errors import LibraryError

STALE_AFTER_S = 3600.0
_DOCUMENT_FILE = re.compile(rf"[0-9a-f]{{64}}{re.escape(SUFFIX)}")
# Only names that `Library.put` gives: a folder named by mistake may hold other programs' temporary
# files.
_TEMPORARY_FILE = re.compile(r"\.+[0-9a-f]{32}.*\.tmp")


class Folder:
    """The files of a library.

    Args:
        path: The folder, which need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self) -> None:
        """Make the folder if it is not there."""
        self.path.mkdir(parents=True, exist_ok=True)

    def file(self, key: str) -> Path:
        """Return where the document of this key is or would be."""
        return self.path / f"{key}{SUFFIX}"

    def keys(self) -> set[str]:
        """Return the keys of the documents that are here.

        Raises:
            LibraryError: The folder cannot be read.
        """
        return {
            name.removesuffix(SUFFIX) for name in self._names() if _DOCUMENT_FILE.fullmatch(name)
        }

    def sweep(self) -> None:
        """Delete the temporary files that killed writers left more than an hour ago."""
        for name in self._names():
            temporary = self.path / name
            with suppress(OSError):
                if (
                    _TEMPORARY_FILE.fullmatch(name)
                    and temporary.stat().st_mtime < time.time() - STALE_AFTER_S
                ):
                    temporary.unlink()

    def unusable(self, verb: str, error: Exception) -> LibraryError:
        """Return the error that says why the library cannot be `verb` ("read" or "written")."""
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        return LibraryError(
            f"`{self.path}`: the library cannot be {verb} ({reason}); mend that, or choose another "
            "folder with E2LLM_HOME or --library."
        )

    def _names(self) -> list[str]:
        try:
            return os.listdir(self.path)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self.unusable("read", error) from error
