"""Plain text."""

from tests.documents.cases import Case, raw

CASES = [
    Case("line ends of every kind", "a.txt", raw(b"a\r\nb\rc\n"), holds=("a\nb\nc\n",)),
    Case("UTF-16 with its mark", "b.txt", raw("é\n".encode("utf-16")), holds=("é\n",)),
    Case("nothing", "c.txt", raw(b""), refused="is empty"),
    Case("binary", "d.bin", raw(b"\x00\xff\x01"), refused="binary"),
]
