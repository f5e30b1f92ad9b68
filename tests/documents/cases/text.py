"""Plain text."""

from pathlib import Path

from tests.documents.cases import Case


def _write(data: bytes):
    def make(path: Path) -> None:
        path.write_bytes(data)

    return make


CASES = [
    Case("line ends of every kind", "a.txt", _write(b"a\r\nb\rc\n"), holds=("a\nb\nc\n",)),
    Case("UTF-16 with its mark", "b.txt", _write("é\n".encode("utf-16")), holds=("é\n",)),
    Case("nothing", "c.txt", _write(b""), refused="is empty"),
    Case("binary", "d.bin", _write(b"\x00\xff\x01"), refused="binary"),
]
