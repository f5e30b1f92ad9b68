"""Text that does not say its encoding, and text with bytes that are none."""

from pathlib import Path

from tests.documents.cases import Case

_ASSUMED = "it does not say its encoding and was read as"


def _write(text: str, encoding: str, end: bytes = b""):
    def make(path: Path) -> None:
        path.write_bytes(text.encode(encoding) * 3 + end)

    return make


def _guessed(what: str, file: str, text: str, encoding: str, name: str) -> Case:
    notice = f"{_ASSUMED} {name}"
    return Case(what, file, _write(text, encoding), holds=(text.strip(),), notices=(notice,))


CASES = [
    _guessed("GBK", "gbk.txt", "会议在中午举行，价格为每吨三千元。\n", "gbk", "gb18030"),
    _guessed("Big5", "big5.txt", "會議在中午舉行，價格為每噸三千元。\n", "big5", "big5"),
    _guessed("Shift-JIS", "sjis.txt", "会議は正午に始まった。\n", "shift_jis", "cp932"),
    _guessed("EUC-JP", "eucjp.txt", "会議は正午に始まった。\n", "euc_jp", "euc_jp"),
    _guessed("EUC-KR", "euckr.txt", "회의는 정오에 시작되었다.\n", "euc_kr", "cp949"),
    _guessed("KOI8-R", "koi8.txt", "Заседание началось в полдень.\n", "koi8-r", "koi8_r"),
    _guessed("Windows-1251", "1251.txt", "Заседание началось в полдень.\n", "cp1251", "cp1251"),
    _guessed("Windows-1252", "1252.txt", "The café’s owner said “no”: €6.\n", "cp1252", "cp1252"),
    _guessed("Latin-1", "latin.txt", "Le café était fermé à l'été.\n", "latin-1", "cp1252"),
    _guessed("UTF-16 without a mark", "wide.txt", "La caf\u00e9.\n", "utf-16-le", "utf-16-le"),
    Case(
        "UTF-8 with a stray byte",
        "stray.txt",
        _write("naïve café in 北京\n", "utf-8", b"1 \x92 2"),
        holds=("naïve café in 北京", "1 \ufffd 2"),
        notices=("1 byte is no UTF-8",),
    ),
    Case(
        "bytes that are no text",
        "noise.txt",
        _write("", "utf-8", bytes(range(1, 256)) * 4),
        refused="is a binary file",
    ),
]
