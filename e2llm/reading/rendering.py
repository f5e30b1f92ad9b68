"""Text as it reads, not as it was wrapped: what stands in a prompt in place of an exact span.

A decoder that copies from hard-wrapped text ends its answer where a line ends. So soft line breaks
are joined, hyphens at line ends healed, ligatures and soft hyphens resolved, and what repeats at
the edges of pages is left out. What stands in lines of its own stays: lists, programs, tables,
verse, addresses, headings, keys with values, conversations, quotes. Words and numbers never change.
"""

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import pairwise

from e2llm.reading.lines import (
    FENCE,
    NARROW,
    NARROWEST,
    OPENING,
    WIDEST,
    ends_sentence,
    flows,
    has_equal_fields,
    indent,
    is_data,
    is_fixed,
    is_keyed,
    is_wide,
    item_width,
    starts_low,
    width,
)
from e2llm.reading.pages import without_edges

Render = Callable[[str], str]

_LIGATURES = str.maketrans(
    dict(zip("ﬀﬁﬂﬃﬄﬅﬆ", ("ff", "fi", "fl", "ffi", "ffl", "st", "st"), strict=True))
)
_SOFT_HYPHEN = re.compile("\u00ad(?:[ \t]*\n[ \t]*(?=[^\\W\\d_]))?")
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_BROKEN = re.compile(r"[^\W\d_]+-[ \t]*\n[ \t]*[^\W\d_]+")
_HYPHEN = re.compile(r"[^\W_]-$")
# Of a real compound a hyphen stays: what English hyphenation never leaves alone at a line's end or
# start, or hardly ever.
_FIRST = {"self", "non", "well", "built", "user", "half", "two", "three"}
_LAST = {"in", "up", "on", "by", "to", "of", "off", "out", "the", "and", "as", "based", "like"}
# A line is full from this share of the widest one, with the next line's first word.
_FULL = 0.85


def render(text: str) -> str:
    """Return a text as it reads: soft line breaks joined, all else in its own lines.

    It is idempotent, and takes time in proportion to the text.

    Example:
        >>> render("The inter-\\nnational court met.\\n\\n- one\\n- two")
        'The international court met.\\n\\n- one\\n- two'
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").translate(_LIGATURES)
    text = without_edges(_SOFT_HYPHEN.sub("", text))
    return _Renderer(text).render()


def raw(text: str) -> str:
    """Return a text as it stands: what is passed where it is not to be rendered."""
    return text


class _Renderer:
    """One text, line by line.

    Args:
        text: The text, its lines ended by line feeds.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = [line if line.strip() else "" for line in text.split("\n")]
        self.out: list[str] = []
        self.at = 0
        self.item_end = 0  # where the lines of the last item end

    def render(self) -> str:
        """Return the text as it reads."""
        while self.at < len(self.lines):
            line = self.lines[self.at]
            if fence := self._fence(self.at):
                self._copy_fenced(fence)
            elif not line:
                self.at += 1
                self._separate()
            elif self._is_fixed(self.at):
                self.at += 1
                self.out.append(line)
            elif item_width(line) or is_keyed(line):
                self._write_item(line)
            else:
                self._write_run()
        while self.out and not self.out[-1]:
            self.out.pop()
        return "\n".join(self.out)

    @cached_property
    def words(self) -> set[str]:
        """The words of the text, in small letters, but for those that a line's end breaks."""
        return {word.casefold() for word in _WORD.findall(_BROKEN.sub(" ", self.text))}

    def _separate(self) -> None:
        if self.out and self.out[-1]:
            self.out.append("")

    def _fence(self, at: int) -> str:
        """Return the mark that begins a fenced block here; tildes under a line underline it."""
        match = FENCE.match(self.lines[at])
        if match and match[1][0] == "~" and at and self.lines[at - 1]:
            return ""
        return match[1] if match else ""

    def _copy_fenced(self, mark: str) -> None:
        """Copy a fenced block; one without an end goes on to the end of the text."""
        begin, self.at = self.at, self.at + 1
        while self.at < len(self.lines):
            own = FENCE.match(self.lines[self.at])
            self.at += 1
            if own and own[1].startswith(mark):
                break
        self.out += self.lines[begin : self.at]

    def _is_fixed(self, at: int) -> bool:
        after = self.lines[at + 1] if at + 1 < len(self.lines) else ""
        return is_fixed(self.lines[at], after)

    def _is_plain(self, at: int, in_run: bool) -> bool:
        """Tell whether a line may go on from the one before it."""
        if at >= len(self.lines):
            return False
        line = self.lines[at]
        if not line or self._fence(at) or self._is_fixed(at) or item_width(line):
            return False
        # In the middle of a sentence a colon makes no key.
        return not is_keyed(line) or (in_run and flows(self.lines[at - 1], line))

    def _write_item(self, line: str) -> None:
        """Write an item or a key with its value, with the lines that go on from it."""
        content, self.at = item_width(line), self.at + 1
        parts, last, wide = [line], line, width(line) >= NARROW
        while self._is_plain(self.at, in_run=False):
            after = self.lines[self.at]
            deeper = indent(after)
            hanging = indent(line) < deeper <= content + 1 and not last.rstrip().endswith(":")
            flowing = wide and deeper <= content + 3 and flows(last, after)
            if not (hanging and not is_data(after)) and not flowing:
                break
            self._add(parts, after)
            wide = wide or width("".join(parts)) >= NARROW
            last, self.at = after, self.at + 1
        self.out.append("".join(parts))
        self.item_end = self.at

    def _write_run(self) -> None:
        """Write lines of prose, verse or a program that stand together."""
        begin, first = self.at, self.lines[self.at]
        self.at += 1
        while self._is_plain(self.at, in_run=True) and self._goes_on(begin, first):
            self.at += 1
        run = self.lines[begin : self.at]
        paragraphs = self._reflow(run)
        if len(paragraphs) == len(run):
            self.out += run
            return
        # Joined, it stands alone, so that it is told from its neighbours when it is rendered again.
        if begin == self.item_end:
            self._separate()
        for before, own in zip(["", *paragraphs], paragraphs, strict=False):
            short = width(before) < NARROW and width(own) < NARROW
            if before and not (short and not starts_low(own)):
                self._separate()
            self.out.append(own)
        if self.at < len(self.lines) and indent(self.lines[self.at]) <= indent(first):
            self._separate()

    def _goes_on(self, begin: int, first: str) -> bool:
        """Tell by its indent whether a line belongs to the run; only the first may stand deeper."""
        deep, own = indent(self.lines[self.at]), indent(first)
        if self.at > begin + 1:
            return deep == indent(self.lines[begin + 1])
        return deep == own or (deep < own and width(first) >= NARROW and not ends_sentence(first))

    def _reflow(self, run: Sequence[str]) -> list[str]:
        """Return the paragraphs of a run: its lines, joined where they were wrapped."""
        if len(run) == 1 or _stands_in_lines(run):
            return list(run)
        widest = max((width(line) for line in run if width(line) <= WIDEST), default=0)
        wrapped, narrow = _is_wrapped(run, widest), widest < NARROW
        paragraphs, cut = [[run[0]]], not self.out
        for line, after in pairwise(run):
            joins = _hyphenates(line, after)
            if wrapped and not joins:
                # The first line of a text may be the rest of one.
                long = narrow or cut or width(line) >= NARROWEST
                joins = (long and flows(line, after)) or _is_full(line, after, widest)
            cut = False
            if joins:
                self._add(paragraphs[-1], after)
            else:
                paragraphs.append([after])
        return ["".join(parts) for parts in paragraphs]

    def _add(self, parts: list[str], after: str) -> None:
        """Add a line to the one before it: with a space, or what a hyphen makes of the two."""
        line, after = parts[-1].rstrip(), after.strip()
        between = " "
        if _HYPHEN.search(line):
            between = ""
            if not self._is_compound(line, after):
                line = line[:-1]
        elif line.endswith("—") or (is_wide(line[-1]) and is_wide(after[0])):
            between = ""
        parts[-1] = line
        parts.append(between + after)

    def _is_compound(self, line: str, after: str) -> bool:
        """Tell whether the hyphen at a line's end belongs to the word."""
        if not after[0].islower() or not line[-2].isalpha():
            return True
        begin, end = line[:-1].rsplit(None, 1)[-1], _WORD.match(after)
        if "-" in begin or end is None or "-" in end[0]:
            return True
        one, two = _WORD.findall(begin)[-1].casefold(), end[0].casefold()
        if len(one) == 1 or one in _FIRST or two in _LAST or f"{one}-{two}" in self.words:
            return True
        # Two words that the text knows, and not as one.
        return one + two not in self.words and {one, two} <= self.words


def _stands_in_lines(lines: Sequence[str]) -> bool:
    """Tell whether lines are no prose: data, a program, whole sentences, or verse."""
    n_data = sum(map(is_data, lines))
    if 2 * n_data >= len(lines) or has_equal_fields(lines) or all(map(ends_sentence, lines)):
        return True
    if indent(lines[-1]) >= 4:
        # A program, unless it reads as prose from margin to margin.
        n_words = sum(len(line.split()) for line in lines)
        if 5 * n_data > len(lines) or n_words < 5 * len(lines):
            return True
    # Verse: its lines begin with capitals, in the middle of a sentence too.
    highs = [line.lstrip().lstrip(OPENING)[:1].isupper() for line in lines[1:]]
    within = [high for high, line in zip(highs, lines, strict=False) if not ends_sentence(line)]
    return len(lines) > 3 and all(sum(own) > 0.7 * len(own) for own in (highs, within))


def _is_wrapped(lines: Sequence[str], widest: int) -> bool:
    """Tell whether prose was wrapped; in a narrow column it takes more to show."""
    pairs = list(pairwise(lines))
    if widest >= NARROW or any(_hyphenates(*pair) for pair in pairs):
        return True
    n_breaks = len(lines) - 1
    n_words = sum(len(line.split()) for line in lines)
    n_low = sum(map(starts_low, lines[1:]))
    n_full = sum(_is_full(*pair, widest) for pair in pairs)
    return (
        n_breaks >= 3
        and widest >= NARROWEST
        and n_words >= 3.5 * len(lines)
        and 2 * n_low >= n_breaks
        and n_full >= 0.8 * n_breaks
    )


def _is_full(line: str, after: str, widest: int) -> bool:
    """Tell whether the first word of the next line had no room in a line."""
    own, words = width(line), after.split(None, 1)
    # A text without spaces may break anywhere.
    first = 1 if is_wide(words[0][0]) else 1 + len(words[0])
    return own <= WIDEST and own + first > _FULL * widest


def _hyphenates(line: str, after: str) -> bool:
    """Tell whether a word goes on in the next line."""
    return bool(_HYPHEN.search(line.rstrip())) and after.lstrip()[:1].isalnum()
