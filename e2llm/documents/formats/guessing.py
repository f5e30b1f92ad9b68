"""Which encoding bytes are in that do not say so: UTF-16 without its mark, or an older one."""

import codecs
import unicodedata
from collections import Counter
from functools import cache

from e2llm.documents.formats.base import import_package

# Most bytes that are looked at; of those, the lines that are not ASCII.
SAMPLE_BYTES = 2**15
_WIDE = {"utf-16-le": 2, "utf-16-be": 2, "utf-32-le": 4, "utf-32-be": 4}
_CONTROLS = {*map(chr, range(32)), "\x7f", "\ufffd"} - {"\t", "\n", "\r", "\f", "\x1b"}
_MARKS = "‘’“”„–—…•€"
_WEST = "àâäáãåæçèéêëìíîïñòóôöõøùúûüßœÀÂÄÁÃÅÆÇÈÉÊÍÎÑÓÔÖÕØÙÚÛÜŒ«»°¿¡£©®ªº"
_CENTRE = "ąćęłńśźżĄĆĘŁŃŚŹŻáčďéěíňóřšťúůýžÁČĎÉŘŠŤÚŽäöüßÄÖÜőűŐŰăâîşţ"
_GREEK = "αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώϊϋ"
_RUSSIAN = "абвгдежзийклмнопрстуфхцчшщъыьэюяё"
_KANA = [*map(chr, range(0x3041, 0x30FF)), *"、。「」"]
# Bytes that begin the common characters of a standard: its first level, and its marks.
_LEADS = {
    "cp949": (0xB0, 0xC8),
    "euc_jp": (0xB0, 0xCF),
    "cp932": (0x88, 0x97),
    "gb18030": (0xB0, 0xD7),
    "big5": (0xA4, 0xC6),
}
# charset-normalizer tells the script, but not always which of its encodings: of French it says
# Windows-1250, of a line in EUC-JP Korean, of a line in KOI8-R Windows-1251, of Greek Windows-1251.
# So of a family the one is taken in which most characters are usual ones.
_FAMILIES = (
    ("cp1252", "cp1250", "iso8859_2", "cp1254"),
    ("cp1251", "koi8_r", "cp866", "iso8859_5", "cp1253", "iso8859_7", "cp1255"),
    tuple(_LEADS),
)
# What it calls by another name.
_FAMILY = {
    "mac_latin2": 0,
    "mac_roman": 0,
    "iso8859_10": 0,
    "mac_cyrillic": 1,
    "mac_greek": 1,
    "johab": 2,
}
_EXCLUDED = ["utf_7", "utf_16", "utf_16_le", "utf_16_be", "utf_32", "utf_32_le", "utf_32_be"]


def guess_wide(data: bytes) -> str | None:
    """Return the UTF-16 or UTF-32 that bytes with NULs are in; None where they are binary."""
    best, most = None, -1
    for name, width in _WIDE.items():
        # A pair of surrogates may be cut at the sample's end.
        text = codecs.getincrementaldecoder(name)("replace").decode(data[:SAMPLE_BYTES])
        chars = set(text)
        known = not any(unicodedata.category(char) in ("Cn", "Cs") for char in chars)
        if len(data) % width or not known or chars & _CONTROLS or not _has_few_blocks(text):
            continue
        n_ascii = sum(map(str.isascii, text))
        if n_ascii > most:
            best, most = name, n_ascii
    return best


def _has_few_blocks(text: str) -> bool:
    """Tell text from pairs of bytes: nine of ten characters lie in its three fullest blocks."""
    blocks = Counter(ord(char) >> 8 if ord(char) < 0x3100 else 0x4E for char in text)
    return sum(count for _, count in blocks.most_common(3)) >= 0.9 * len(text)


def guess_encoding(data: bytes) -> str | None:
    """Return the encoding of bytes that are not UTF-8; None where no text comes of any.

    Raises:
        MissingPackageError: charset-normalizer is not installed.
    """
    lines = (line for line in data.splitlines(keepends=True) if not line.isascii())
    sample = b"".join(lines)[:SAMPLE_BYTES]
    # Of Latin scripts alone the letters that are not ASCII stand alone.
    bits = [byte > 0x7F for byte in sample]
    n_alone = sum(
        map(lambda one, two, three: two and not one and not three, [0, *bits], bits, [*bits[1:], 0])
    )
    if n_alone > 0.6 * sum(bits):
        return _most_usual(sample, _FAMILIES[0])[0]
    normalizer = import_package("charset_normalizer", "charset-normalizer", "this encoding")
    best = normalizer.from_bytes(sample, cp_exclusion=_EXCLUDED).best()
    if best is None:
        name, share = max(
            (_most_usual(sample, family) for family in _FAMILIES), key=lambda found: found[1]
        )
        return name if share > 0.8 else None
    for number, family in enumerate(_FAMILIES):
        if best.encoding in family or _FAMILY.get(best.encoding) == number:
            # Hebrew reads as well in Russian letters; of Latin ones the western are the likeliest.
            first = (str(best.encoding),) if number and best.encoding in family else ()
            return _most_usual(sample, first + family)[0]
    return str(best.encoding)


def n_controls(text: str) -> int:
    """Count the characters that no text has."""
    return sum(text.count(char) for char in _CONTROLS - {"\ufffd"})


def _most_usual(sample: bytes, family: tuple[str, ...]) -> tuple[str, float]:
    """Return the encoding in which the largest share of what is not ASCII is usual, and it."""
    found = []
    for name in family:
        other = [char for char in sample.decode(name, "replace") if char > "\x7f"]
        n_usual = sum(char in _usual(name) for char in other)
        found.append((name, (n_usual - other.count("\ufffd")) / max(len(other), 1)))
    return max(found, key=lambda one: one[1])


@cache
def _usual(name: str) -> frozenset[str]:
    """Return the characters that most texts in an encoding are made of."""
    if name in _LEADS:
        first, last = _LEADS[name]
        pairs = (
            bytes((lead, trail)) for lead in range(first, last + 1) for trail in range(64, 255)
        )
        kana = _KANA if name in ("euc_jp", "cp932") else [*"、。，；：！？（）“”《》「」"]
        return frozenset("".join(pair.decode(name, "ignore") for pair in pairs)).union(kana)
    letters = {
        "cp1252": _WEST + _MARKS,
        "cp1250": _CENTRE + _MARKS,
        "iso8859_2": _CENTRE,
        "cp1254": "çğıöşüâîÇĞİÖŞÜ" + _MARKS,
        "cp1253": _GREEK + "«»" + _MARKS,
        "iso8859_7": _GREEK + "«»",
        "cp1255": "אבגדהוזחטיךכלםמןנסעףפץצקרשת" + _MARKS,
        "cp1251": _RUSSIAN + "іїєґў«»№" + _MARKS,
    }
    return frozenset(letters.get(name, _RUSSIAN))
