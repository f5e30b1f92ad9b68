"""Characters of symbol fonts, which are codes without a meaning of their own, in Unicode."""

# Symbol's characters from 0x20 on, as Adobe's table of its encoding has them; a space for none.
_SYMBOL = (
    " !∀#∃%&∋()∗+,−./0123456789:;<=>?"
    "≅ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ[∴]⊥_"
    "‾αβχδεφγηιϕκλμνοπθρστυϖωξψζ{|}∼ "
    "                                "
    "€ϒ′≤⁄∞ƒ♣♦♥♠↔←↑→↓°±″≥×∝∂•÷≠≡≈…⏐⎯↵"
    "ℵℑℜ℘⊗⊕∅∩∪⊃⊇⊄⊂⊆∈∉∠∇®©™∏√⋅¬∧∨⇔⇐⇑⇒⇓"
    "◊⟨®©™∑⎛⎜⎝⎡⎢⎣⎧⎨⎩⎪ ⟩∫⌠⎮⌡⎞⎟⎠⎤⎥⎦⎫⎬⎭ "
)
# Of Wingdings what texts say something with.
_WINGDINGS = {
    0x28: "☎",
    0x2A: "✉",
    0x4A: "☺",
    0x4C: "☹",
    0x6C: "●",
    0x6E: "■",
    0x6F: "☐",
    0x71: "❑",
    0x72: "❒",
    0x75: "◆",
    0x76: "❖",
    0x77: "◆",
    0x78: "☒",
    0x9F: "•",
    0xA7: "▪",
    0xA8: "☐",
    0xD8: "➢",
    0xDF: "←",
    0xE0: "→",
    0xE1: "↑",
    0xE2: "↓",
    0xE8: "➔",
    0xF0: "⇨",
    0xFB: "✗",
    0xFC: "✓",
    0xFD: "☒",
    0xFE: "☑",
}
_WINGDINGS_2 = {0x4F: "✗", 0x50: "✓", 0x51: "☒", 0x52: "☑", 0x53: "☒", 0x54: "☒", 0xA3: "☐"}
_FONTS = {
    "symbol": {0x20 + at: char for at, char in enumerate(_SYMBOL) if char != " "} | {0x20: " "},
    "wingdings": _WINGDINGS,
    "wingdings 2": _WINGDINGS_2,
    "wingdings 3": {},
    "webdings": {},
}
_PRIVATE = range(0xF000, 0xF100)
LOST = "\ufffd"


def symbol(code: int, font: str) -> str:
    """Return a symbol font's character in Unicode; `LOST` where it is not known.

    Args:
        code: As the file has it, in the private area of Unicode or not.
        font: The font's name.

    Example:
        >>> symbol(0xF061, "Symbol")
        'α'
    """
    if 0 <= code < 0x110000 and not 0xE000 <= code < 0xF900 and font.lower() not in _FONTS:
        return chr(code) if code >= 0x20 and not 0xD800 <= code < 0xE000 else LOST
    return _FONTS.get(font.lower(), {}).get(code & 0xFF, LOST)


def is_private(char: str) -> bool:
    """Say whether a character is a symbol font's code in the private area of Unicode."""
    return ord(char) in _PRIVATE
