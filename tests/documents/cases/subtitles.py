"""Subtitles."""

from tests.documents.cases import Case, raw

_SRT = """1
00:01:05,200 --> 00:01:07,000
ANN: So what we are
going to do

2
00:01:07,100 --> 00:01:09,000
<i>today</i> is {\\an8}simple.

3
01:00:00,000 --> 01:00:02,000
- Is it?
- It is.
"""
_VTT = """WEBVTT - talk

STYLE
::cue { color: lime }

NOTE made by hand

intro
00:05.000 --> 00:07.000 align:start position:0%
<v.loud Ann Évans>Salt &amp; ice,<00:00:06.000><c> friends.</c>

00:07.500 --> 00:09.000
<v Bo>Why?
"""
_ROLLING = """WEBVTT
Kind: captions
Language: en

00:00:01.000 --> 00:00:02.000
the tide comes

00:00:02.000 --> 00:00:03.000
the tide comes
in twice a day
"""

CASES = [
    Case(
        "SubRip: sentences with speaker and time",
        "a.srt",
        raw(_SRT.encode("utf-8-sig")),
        holds=(
            "[00:01:05] ANN: So what we are going to do today is simple.\n",
            "[01:00:00] - Is it?\n[01:00:00] - It is.\n",
        ),
        lacks=("-->", "<i>", "an8"),
    ),
    Case(
        "WebVTT: voices; names of cues, settings, styles and notes go",
        "a.vtt",
        raw(_VTT.encode()),
        holds=("[00:00:05] Ann Évans: Salt & ice, friends.\n[00:00:07] Bo: Why?\n",),
        lacks=("align", "intro", "lime"),
        notices=("notes and styles between",),
    ),
    Case(
        "captions that roll: nothing twice",
        "roll.vtt",
        raw(_ROLLING.encode()),
        holds=("[00:00:01] the tide comes in twice a day\n",),
    ),
    Case(
        "damaged: no times",
        "bad.srt",
        raw(b"1\n00:01 -> 00:02\nHello.\n"),
        holds=("1\n00:01 -> 00:02\nHello.\n",),
        notices=("no times in it: it was read as it stands",),
    ),
]
