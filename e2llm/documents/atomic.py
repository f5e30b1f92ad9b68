"""Writing files so that a crash leaves the old content or the new, never half."""

import os
import secrets
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to a temporary name in the same folder, sync, and rename.

    Raises:
        OSError: The disk is full or the folder is read-only; `path` then holds what it held before.
    """
    temporary = path.with_name(f".{path.name[:40]}-{secrets.token_hex(8)}.tmp")
    try:
        write_synced(temporary, data)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_synced(path: Path, data: bytes) -> None:
    """Write a new file, down to the disk.

    Raises:
        OSError: There is such a file, the disk is full or the folder is read-only.
    """
    with open(path, "xb") as file:  # not tempfile, whose files only their owner may read
        file.write(data)
        file.flush()
        # Before it is renamed, or after a crash the name might stand for data that was never
        # written.
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make what was renamed into `folder` survive a power cut, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
