"""Subtitles, SubRip and WebVTT: what is said, by whom and when, in sentences.

`[00:01:05] Ann: Good evening.` can be quoted; cue numbers, settings and styles say nothing.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass

from e2llm.documents.formats.base import Content, Format
from e2llm.documents.formats.records import decode_lines

_TIME = r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})[.,]\d{1,3}"
_TIMING = re.compile(rf"[ \t]*{_TIME}[ \t]*-->[ \t]*{_TIME}.*")
_VOICE = re.compile(r"<v(?:\.[^ \t>]*)?[ \t]+([^>]*)>")
_TAG = re.compile(r"</?(?:[a-zA-Z](?:[\w.]*)(?:[ \t][^<>]*)?|\d[\d:.]*)>|\{\\[^{}]*\}")
_SPEAKER = re.compile(r"(?:>>[ \t]*)?([A-Z][\w.' -]{0,30}(?:\([^()]{1,20}\))?):[ \t]+(?=\S)")
_TURN = re.compile(r"[-–—‐][ \t]*(?=\S)|>>[ \t]*")
_SENTENCE_END = re.compile(r"[.!?…।。！？♪\])][\"'”’»)]*$")
# What begins a WebVTT file.
_HEAD = ("WEBVTT", "Kind:", "Language:", "X-TIMESTAMP-MAP")
# Cues are joined to a sentence of at most so many characters, with pauses of at most so long.
_JOINED_CHARS = 300
_PAUSE_S = 4


@dataclass
class _Cue:
    """What is said at one time.

    Attributes:
        start_s, end_s: When.
        speaker: Who says it, where the file tells.
        text: In one line.
    """

    start_s: int
    end_s: int
    speaker: str
    text: str


def read_subtitles(data: bytes, encoding: str | None) -> Content:
    """Return what is said; a file without times stands as it is."""
    text, notices = decode_lines(data, encoding)
    has_notes = False
    cues: list[_Cue] = []
    before: list[str] = []
    for timing, lines in _blocks(text):
        if not timing:
            if cues and not text.startswith("WEBVTT"):  # after an empty line in a cue
                cues[-1].text += " " + " ".join(filter(None, map(_strip, lines)))
            else:
                has_notes = True
            continue
        lines = [_strip(line) for line in lines]
        # Captions that roll repeat in each cue the last line of the one before.
        own = lines[1:] if before and lines and lines[0] == before[-1] != "" else lines
        before = lines
        cues += _turns(timing, [line for line in own if line])
    if not cues:
        return Content([text], notices=(*notices, "no times in it: it was read as it stands"))
    if has_notes:
        notices = (*notices, "notes and styles between what is said left out")
    return Content([[_write(cue) for cue in _join(cues)]], notices=notices)


def _blocks(text: str) -> Iterator[tuple[re.Match[str] | None, list[str]]]:
    """Yield the cues of a file, each its timing and its lines; None is the timing of other text."""
    lines = text.split("\n")
    at = 0
    loose: list[str] = []
    while at < len(lines):
        timing = _TIMING.match(lines[at])
        at += 1
        if not timing:
            loose.append(lines[at - 1])
            continue
        if loose and loose[-1].strip():
            loose.pop()  # the cue's number or name
        if _is_text(loose):
            yield None, loose
        loose = []
        own: list[str] = []
        while at < len(lines) and lines[at].strip() and not _TIMING.match(lines[at]):
            own.append(lines[at])
            at += 1
        yield timing, own
    if _is_text(loose):
        yield None, loose


def _is_text(lines: list[str]) -> bool:
    """Tell whether lines between cues hold more than numbers and the file's first line."""
    return any(line.strip() and not line.startswith(_HEAD) for line in lines)


def _strip(line: str) -> str:
    """Return a line of a cue without its marks; a voice becomes the speaker before a colon."""
    line = _VOICE.sub(lambda match: match[1].strip() + ": ", line)
    return " ".join(html.unescape(_TAG.sub("", line)).split())


def _turns(timing: re.Match[str], lines: list[str]) -> Iterator[_Cue]:
    """Yield what each speaker says in a cue."""
    numbers = [int(group or 0) for group in timing.groups()]
    start, end = (h * 3600 + m * 60 + s for h, m, s in (numbers[:3], numbers[3:]))
    turns: list[tuple[str, list[str]]] = []
    for line in lines:
        if named := _SPEAKER.match(line):
            turns.append((named[1], [line[named.end() :]]))
        elif turn := _TURN.match(line):
            turns.append(("-", [line[turn.end() :]]))
        elif turns:
            turns[-1][1].append(line)
        else:
            turns.append(("", [line]))
    alone = len(turns) == 1
    for speaker, said in turns:
        # A dash parts two speakers; before the only one it says that another speaks.
        yield _Cue(start, end, speaker if alone or speaker != "-" else "- ", " ".join(said))


def _join(cues: list[_Cue]) -> Iterator[_Cue]:
    """Join the cues of one sentence."""
    current: _Cue | None = None
    for cue in cues:
        goes_on = (
            current is not None
            and cue.speaker in ("", current.speaker.strip("- "))
            and not _SENTENCE_END.search(current.text)
            and cue.start_s - current.end_s <= _PAUSE_S
            and len(current.text) + len(cue.text) < _JOINED_CHARS
        )
        if current is not None and goes_on:
            if cue.text != current.text:
                current.text += " " + cue.text
            current.end_s = cue.end_s
            continue
        if current is not None:
            yield current
        current = cue
    if current is not None:
        yield current


def _write(cue: _Cue) -> str:
    hours, rest = divmod(cue.start_s, 3600)
    speaker = cue.speaker.strip()
    before = {"": "", "-": "- "}.get(speaker, f"{speaker}: ")
    return f"[{hours:02d}:{rest // 60:02d}:{rest % 60:02d}] {before}{cue.text}\n"


SUBTITLES = Format(
    "subtitles", (".srt", ".vtt"), read_subtitles, first_bytes=(b"WEBVTT", b"\xef\xbb\xbfWEBVTT")
)
