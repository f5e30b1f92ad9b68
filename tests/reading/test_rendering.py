"""Rendering: prose is joined, lines stay lines, and no word is touched."""

import re
import textwrap
import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2llm.reading.prompt import Passage, prompt_parts
from e2llm.reading.rendering import raw, render
from examples.python_reference import reference

PROSE = (
    "The council met at noon in the old hall. Everyone spoke about the budget, and the mayor "
    "approved it after a long debate. A river runs through the town; its bridge was built in "
    "1887 by a company from the north. Who pays for the well-known repair, 3.5 or 1,000?"
)
KEPT = {
    "bullets": "To do:\n- buy milk and bread\n- call Ann\n* read\n• write",
    "numbers": "1. First\n2. Second\n3) Third\n(a) Fourth\nii. Fifth",
    "program": "def f(x):\n    for item in x:\n        print(item)\n    return x",
    "indented": "    total = price * count\n    if total > limit:\n        refuse(total)",
    "fenced": "```\nsome words that a\nfence keeps in their\nlines\n```",
    "pipes": "| name | age |\n|---|---|\n| Ann | 31 |",
    "columns": "Method    F1     EM\nours      81.2   70.1\nRAG       79.9   69.0",
    "csv": "id,customer,amount\n"
    + "\n".join(f"INV-{n:05d},Acme Holding of the North and Sons,{7 * n}.00" for n in range(5)),
    "spaced csv": "name, city, age\nAnna, Paris, 31\nBob, New York, 42\nCem, Ankara, 19",
    "tsv": "name\tcity\nAnna\tParis",
    "verse": "Shall I compare thee to a summer's day?\nThou art more lovely and more temperate:\n"
    "Rough winds do shake the darling buds of May,\nAnd summer's lease hath all too short a date;",
    "address": "Dr. Jane Smith\nDepartment of Physics\nUniversity of Leeds\nLeeds LS2 9JT",
    "underlined": "Introduction\n~~~~~~~~~~~~",
    "heading": "# Title\nIntroduction\n============\nCHAPTER ONE\n3.1. Scope",
    "keys": "name: foo\nversion: 1\nAuthor: Ann Lee\nSee also:",
    "mail": "From: Ada <ada@acme.com>\nTo: Bruno\nSubject: The meeting",
    "chat": "Ann: hi\nBob: hello there\n[10:32] Cem: hey\n<dan> hi\n10:33 Ann: bye",
    "quote": "> can we meet on Tuesday to talk about the\n> budget?",
    "log": "2024-01-01 10:00:01 INFO the server has started on port 8080\n"
    "2024-01-01 10:00:02 WARN the cache is cold",
    "shopping": "butter\nflour\nmilk\neggs\nbread and jam",
    "paragraphs": f"{PROSE}\nA shorter one that ends.\n{PROSE}",
}
HOSTILE = {
    "one line": "word " * 200_000,
    "one word": "a" * 1_000_000,
    "line feeds": "\n" * 200_000,
    "spaces": (" " * 1000 + "x\n") * 500,
    "no-break spaces": "\u00a0\n" * 100_000,
    "carriage returns": "ab cd\r\n" * 20_000,
    "hyphens": "a-\n" * 20_000,
    "soft hyphens": ("\u00ad" + " " * 50 + "\n") * 5_000,
    "form feeds": "h\nx\n\f" * 20_000,
    "brackets": "[" * 500_000,
    "items": "- a\n  b\n" + "  c\n" * 20_000,
    "colons": "a b c: " * 50_000,
    "fences": "```\n" * 50_000,
}


def bare(text):
    """What must never change: all but white space, hyphens, and how letters are set."""
    ligatures = {letter: unicodedata.normalize("NFKC", letter) for letter in "ﬀﬁﬂﬃﬄﬅﬆ"}
    return re.sub(r"[\s\u00ad-]", "", text.translate(str.maketrans(ligatures)))


def wrap(text, width, **options):
    return textwrap.fill(text, width, break_on_hyphens=False, **options)


@pytest.mark.parametrize("width", [38, 50, 60, 72, 79, 100])
@pytest.mark.parametrize("indent", ["", "   "])
def test_wrapped_prose_reads_as_it_did_before(width, indent):
    wrapped = wrap(PROSE, width, initial_indent=indent, subsequent_indent=indent)
    assert render(f"{wrapped}\n\n\n{wrapped}\n") == f"{indent}{PROSE}\n\n{indent}{PROSE}"


@pytest.mark.parametrize("ends", ["\r\n", "\r"])
def test_every_kind_of_line_end_is_joined(ends):
    assert render(wrap(PROSE, 60).replace("\n", ends)) == PROSE


def test_indented_prose_is_no_program():
    assert (
        render(wrap(PROSE, 72, initial_indent="    ", subsequent_indent="    ")) == f"    {PROSE}"
    )


def test_an_item_is_joined_with_the_lines_that_hang_under_it():
    items = "\n".join(wrap(f"- {PROSE}", 60, subsequent_indent="  ") for _ in range(3))
    assert render(items) == "\n".join([f"- {PROSE}"] * 3)


def test_a_letter_is_rendered_part_by_part():
    text = f"Hi Ann,\n{wrap(PROSE, 72)}\n{KEPT['bullets']}\n\nBest,\nAda\n12 Harbour Street"
    assert render(text) == (
        f"Hi Ann,\n\n{PROSE}\n\n{KEPT['bullets']}\n\nBest,\nAda\n12 Harbour Street"
    )


@pytest.mark.parametrize("kind", KEPT)
def test_what_stands_in_lines_of_its_own_stays(kind):
    assert render(KEPT[kind]) == KEPT[kind]
    between = f"{PROSE}\n\n{KEPT[kind]}\n\n{PROSE}"
    assert render(between) == between


@pytest.mark.parametrize(
    ("broken", "whole"),
    [
        ("inter-\nnational", "international"),
        ("the inter\u00ad\n  national and co\u00adop", "the international and coop"),
        ("Anglo-\nSaxon", "Anglo-Saxon"),
        ("in the years 1990-\n1995 it fell", "in the years 1990-1995 it fell"),
        ("e-\nmail", "e-mail"),
        ("built-\nin", "built-in"),
        ("state-of-the-\nart", "state-of-the-art"),
        (
            "a pre-existing one, and a pre-\nexisting one",
            "a pre-existing one, and a pre-existing one",
        ),
        ("the time of a table, or time-\ntable", "the time of a table, or time-table"),
        (
            "a timetable of a time, a table, or time-\ntable",
            "a timetable of a time, a table, or timetable",
        ),
        ("this - or -\nthat", "this - or -\nthat"),
        ("oﬃce ﬁles, ﬂat ﬆones, oﬀ", "office files, flat stones, off"),
    ],
)
def test_hyphens_and_ligatures_are_resolved(broken, whole):
    assert render(broken) == whole


def test_what_repeats_at_the_edges_of_pages_is_left_out_and_the_sentence_goes_on():
    pages = [
        f"Annual Report\n\nThe page has a text of its own, {name}, and goes on with it\n\n{n}\n"
        for n, name in enumerate(("the first", "the second", "the third"), 12)
    ]
    assert "Report" not in (text := render("\f".join(pages)))
    assert not set(re.findall(r"\d+", text))
    assert text.count("of its own") == 3
    assert render("half of a sentence\n\n- 7 -\n\ngoes on") == "half of a sentence\ngoes on"


@pytest.mark.parametrize(
    "text", ["A total of\n\n12\n\nhouses", "yes\fyes\fyes", "12\f40\f7", "- 1 -\n\nA sentence."]
)
def test_a_line_that_may_be_part_of_the_text_stays(text):
    assert bare(render(text)) == bare(text)


def test_the_reference_of_python_keeps_every_word_and_its_programs():
    text = reference()
    rendered = render(text)
    assert bare(rendered) == bare(text)
    assert render(rendered) == rendered
    assert (
        "previously bound variables in the nearest enclosing scope excluding globals." in rendered
    )
    assert "   class A:\n       a = 42\n       b = list(a + i for i in range(10))\n" in rendered
    assert 'Names listed in a "nonlocal" statement must not collide with pre-existing' in rendered


ODD = """
inter- pre-existing Ada: key: - * 1. 2) a) > | || , ; foo() = {} def () [1] " no! — Zürich 中文 日本
ﬁne co\u00adop # === --- ``` ~~~ >>> a,b,c 10:30 CHAPTER
"""
WORDS = st.sampled_from([*PROSE.split(), *ODD.split(), "\u00a0", "\t", "a  b", "x   y", "\r"])
INDENTS = st.sampled_from(["", "", "", " ", "  ", "   ", "    ", "\t", "      "])
LINES = st.builds(
    lambda indent, words: indent + " ".join(words), INDENTS, st.lists(WORDS, max_size=14)
)


@st.composite
def blocks(draw):
    """Wrapped prose of any width and form, among lines of anything."""
    width, begin = draw(st.integers(20, 125)), draw(st.sampled_from(["", "- ", "  ", "Note: "]))
    words = draw(st.integers(0, 30))
    text = " ".join(PROSE.split()[words : words + draw(st.integers(3, 30))])
    wrapped = wrap(text, width, initial_indent=begin, subsequent_indent=draw(INDENTS))
    return "\n".join(
        [*draw(st.lists(LINES, max_size=3)), wrapped, *draw(st.lists(LINES, max_size=2))]
    )


@settings(deadline=None, max_examples=300)
@given(
    st.one_of(
        st.text(), st.lists(LINES, max_size=20).map("\n".join), st.lists(blocks()).map("\n".join)
    )
)
def test_rendering_twice_is_rendering_once_and_no_word_changes(text):
    rendered = render(text)
    assert render(rendered) == rendered
    if "\f" not in text:
        assert bare(rendered) == bare(text)
    assert "\n\n\n" not in rendered or "```" in text or "~~~" in text


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_take_time_in_proportion(name):
    start_s = time.process_time()  # not the clock's: others may be at work
    rendered = render(HOSTILE[name])
    assert time.process_time() - start_s < 10
    assert render(rendered) == rendered


def test_a_prompt_shows_a_passage_as_it_reads_unless_it_is_told_not_to():
    wrapped = wrap(PROSE, 60)
    passage = Passage("town", wrapped, 0, len(wrapped), None)
    read, exact = (
        "".join(map(str, prompt_parts("Who?", [("town", 0)], [passage], soft=False, render=own)))
        for own in (render, raw)
    )
    assert PROSE in read
    assert wrapped in exact
    assert passage.text == wrapped
