"""Values of cells as a spreadsheet shows them: decimals, percent, currency, dates.

Dates are written as ISO 8601 has them, whatever order of day and month a sheet shows: a reader
elsewhere cannot know which it was.
"""

import datetime
import re
from decimal import ROUND_HALF_UP, Decimal

_TOKEN = re.compile(r'"[^"]*"|\\.|_.|\*.|\[[^\]]*\]|(?i:general)|[0#?][0#?,.]*(?:[eE][+-]0+)?|.')
_CURRENCY = re.compile(r"\[\$([^\]-]*)(?:-[^\]]*)?\]")
_CONDITION = re.compile(r"\[[<>=]")
_SECTION_END = re.compile(r'"[^"]*"|\\.|;')


def show(value: object, number_format: str = "General") -> str:
    """Return a cell's value as people see it; nothing for an empty cell.

    Example:
        >>> show(0.125, "0.0%"), show(1234.5, "#,##0.00"), show(0.1 + 0.2)
        ('12.5%', '1,234.50', '0.3')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int | float):
        return _show_number(value, number_format)
    if isinstance(value, datetime.datetime):
        return _show_date(value, number_format)
    if isinstance(value, datetime.timedelta):
        minutes, seconds = divmod(round(value.total_seconds()), 60)
        return f"{minutes // 60}:{minutes % 60:02d}" + (f":{seconds:02d}" if seconds else "")
    if isinstance(value, datetime.time):
        return value.isoformat("seconds" if value.second else "minutes")
    return str(value)


def _show_date(value: datetime.datetime, number_format: str) -> str:
    """Return a date, with its time where there is one; month or year alone where no day shows."""
    value += datetime.timedelta(microseconds=500_000)
    if value.hour or value.minute or value.second:
        return value.strftime("%Y-%m-%d %H:%M:%S").removesuffix(":00")
    codes = "".join(
        token for token in _TOKEN.findall(number_format) if token[0] not in '"\\[_*'
    ).lower()
    if "d" not in codes and "y" in codes:
        return value.strftime("%Y-%m" if "m" in codes else "%Y")
    return value.strftime("%Y-%m-%d")


def _show_number(value: float, number_format: str) -> str:
    if isinstance(value, float) and not -1e300 < value < 1e300:
        return str(value)
    exact = Decimal(f"{value:.15g}") if isinstance(value, float) else Decimal(value)
    sections = _sections(number_format)
    plain = f"{exact:f}" if -7 < exact.adjusted() < 21 or not exact else f"{exact:E}"
    if "." in plain and "E" not in plain:
        plain = plain.rstrip("0").rstrip(".")
    if any(map(_CONDITION.search, sections)):
        return plain
    index = 1 if exact < 0 and len(sections) > 1 else 2 if not exact and len(sections) > 2 else 0
    shown = _fill(sections[index], abs(exact))
    if shown is None:
        return plain
    # A section for negative numbers has its own sign.
    return "-" + shown if exact < 0 and index == 0 and shown.strip("0., ") else shown


def _sections(number_format: str) -> list[str]:
    sections, start = [], 0
    for match in _SECTION_END.finditer(number_format):
        if match[0] == ";":
            sections.append(number_format[start : match.start()])
            start = match.end()
    return [*sections, number_format[start:]]


def _fill(section: str, value: Decimal) -> str | None:
    """Return a number in a section of a format; None where it is to be shown plainly."""
    pattern = ""
    pieces: list[str] = []
    for token in _TOKEN.findall(section):
        if token[0] in "0#?":
            if pattern:
                return None  # parts of a number, as in fractions and telephone numbers
            pattern = token
            pieces.append("\0")
        elif token[0] == '"':
            pieces.append(token[1:-1])
        elif token[0] == "\\":
            pieces.append(token[1:])
        elif token[0] == "[":
            currency = _CURRENCY.fullmatch(token)
            pieces.append(currency[1] if currency else "")
        elif token[0] in "_*":
            pieces.append(" " if token[0] == "_" and pieces else "")
        elif token.lower() == "general" or token in "@/":
            return None
        else:
            pieces.append(token)
    shown = "".join(pieces).strip()
    value *= 100 ** section.count("%")
    return shown.replace("\0", _digits(pattern, value)) if pattern else shown or None


def _digits(pattern: str, value: Decimal) -> str:
    """Return a number by a pattern such as `#,##0.00`."""
    mantissa, _, exponent = pattern.upper().partition("E")
    whole, _, decimals = mantissa.partition(".")
    n_decimals = len(decimals.rstrip(",").replace(",", ""))
    if exponent:
        return f"{value:.{n_decimals}E}"
    scaled = value.scaleb(-3 * (len(mantissa) - len(mantissa.rstrip(","))))
    rounded = scaled.quantize(Decimal(1).scaleb(-n_decimals), ROUND_HALF_UP)
    text = f"{rounded:,f}" if "," in whole.rstrip(",") else f"{rounded:f}"
    before, _, after = text.partition(".")
    while after and len(after) > decimals.count("0") and after.endswith("0"):
        after = after[:-1]
    before = before.zfill(whole.count("0")) if "," not in whole else before
    return f"{before}.{after}" if after else before
