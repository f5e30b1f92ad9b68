"""Bad input: one line that says what is wrong and the way out, nothing stored.

Exit code 2 for the user's mistakes, 1 for failures.
"""

import pytest

from tests.cli.asking import Q
from tests.cli.running import FEW, run, stored_files, write
from tests.documents.files import write_pdf
from tests.tiny import TEXT


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.txt", b"", "is empty"),
        ("blank.txt", b" \n\t\n", "has no text"),
        ("blank.html", b"<p> </p>", "has no text"),
        ("binary.txt", bytes(range(256)) * 4, "binary"),
        ("cut.pdf", b"%PDF-1.7\nnothing", "may be damaged"),
        ("cut.docx", b"PK\x03\x04nothing", "damaged"),
        ("old.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" * 64, "old Office file"),
    ],
)
@pytest.mark.parametrize("verb", ["ask", "compress"])
def test_a_file_that_is_no_text_is_refused(pair, tmp_path, home, verb, name, content, words):
    (tmp_path / name).write_bytes(content)
    message = run(verb, name, "-m", pair, *(Q if verb == "ask" else ())).mistake
    assert words in message
    assert name in message
    assert not home.exists()


def test_a_file_in_another_encoding_is_read_when_that_is_named(pair, tmp_path):
    (tmp_path / "latin.txt").write_bytes("Üben in Köln. ".encode("latin-1") * 9)
    answered = run("ask", "latin.txt", "-m", pair, *Q, *FEW, "--encoding", "latin-1", "--json").json
    assert "Üben in Köln." in answered["expanded"][0]["text"]
    message = run("ask", "latin.txt", "-m", pair, *Q, "--encoding", "latin-one").mistake
    assert "not a text encoding" in message


def test_a_pdf_without_pages_or_with_a_password_is_refused(pair, tmp_path):
    write_pdf(tmp_path / "none.pdf", [])
    write_pdf(tmp_path / "scan.pdf", [""])
    write_pdf(tmp_path / "secret.pdf", ["hidden"], password="secret")
    for name, words in (
        ("none.pdf", "has no pages"),
        ("scan.pdf", "ocrmypdf"),
        ("secret.pdf", "is encrypted"),
    ):
        assert words in run("ask", name, "-m", pair, *Q).mistake


@pytest.mark.parametrize("name", ["missing.txt", "missing/folder/file.pdf", "x" * 5000, ""])
def test_a_file_that_is_missing_may_have_been_meant_as_a_stored_document(pair, name):
    message = run("ask", name, "-m", pair, *Q).mistake
    assert "or name a stored document (`e2llm library list`)" in message


def test_a_folder_without_a_file_to_read_is_refused(pair, tmp_path):
    (tmp_path / "folder").mkdir()
    assert "no file that can be read" in run("ask", "folder", "-m", pair, *Q).mistake
    result = run("compress", "folder", "-m", pair)
    assert result.code == 1
    assert "  folder: holds no file that can be read" in result.stderr


def test_standard_input_that_is_empty_or_asked_for_twice_is_refused(pair):
    assert "standard input is empty" in run("ask", "-", "-m", pair, *Q).mistake
    for other in ("-", "/dev/stdin"):
        assert "only once" in run("ask", "-", other, "-m", pair, *Q, stdin=TEXT).mistake


@pytest.mark.parametrize("files", [["-"], ["/dev/stdin"], ["town.txt", "--json"]])
def test_a_question_must_be_given_where_it_cannot_be_typed(pair, town, files):
    assert "`--question` must be given" in run("ask", *files, "-m", pair, stdin=TEXT).mistake


@pytest.mark.parametrize("question", ["", "  ", "\n"])
def test_a_blank_question_is_refused(pair, town, question):
    assert "`--question` is blank" in run("ask", town, "-m", pair, "-q", question).mistake


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--ratio", "0.5", "`ratio` (='0.5')"),
        ("--ratio", "nan", "`ratio` (='nan')"),
        ("--ratio", "chunks", "`ratio` (='chunks')"),
        ("--expand", "-1", "`--expand` (=-1)"),
        ("--temperature", "-1", "`temperature` (=-1.0)"),
        ("--temperature", "inf", "`temperature` (=inf)"),
        ("--temperature", "nan", "`temperature` (=nan)"),
        ("--top-p", "0", "`top_p` (=0.0)"),
        ("--top-p", "1.1", "`top_p` (=1.1)"),
        ("--top-k", "0", "`top_k` (=0)"),
        ("--num-beams", "0", "`num_beams` (=0)"),
        ("--repetition-penalty", "0", "`repetition_penalty` (=0.0)"),
        ("--max-new-tokens", "0", "`max_new_tokens` (=0)"),
        ("--max-new-tokens", "100000", "decoder's window holds 512"),
        ("--seed", "-1", "`seed` (=-1)"),
        ("--seed", str(10**30), "`seed` (=1000"),
        ("--chunk-chars", "0", "`size` (=0)"),
        ("--overlap-chars", "-1", "`overlap` (=-1)"),
        ("--overlap-chars", "119", "`overlap` (=119)"),
        ("--window", "0", "`window` (=0)"),
        ("--dtype", "flaot32", "`dtype` (='flaot32')"),
        ("--dtype", "int8", "dtype"),
        ("--device", "gpu", "`device` (='gpu')"),
        ("--device", "cuda:99", "`device` (='cuda:99')"),
    ],
)
def test_an_option_out_of_range_names_its_value_before_anything_is_read(
    pair, town, home, option, value, words
):
    assert words in run("ask", town, "-m", pair, *Q, option, value).mistake
    assert not home.exists()


def test_a_window_of_chunks_that_overlap_is_refused(pair, town):
    message = run("ask", town, "-m", pair, *Q, "--window", 2, "--overlap-chars", 10).mistake
    assert "set the overlap to 0" in message


# Compressed documents


@pytest.fixture
def compressed(pair, town, tmp_path):
    run("compress", town, "-m", pair, "-o", "town.e2llm")
    return tmp_path / "town.e2llm"


@pytest.mark.parametrize("verb", ["ask", "show"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"nonsense" * 100,
        lambda data: data[:50],
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: data[:-200] + bytes([data[-200] ^ 1]) + data[-199:],
        lambda data: data[:300] + bytes([data[300] ^ 1]) + data[301:],
    ],
)
def test_a_damaged_compressed_document_is_a_failure_of_one_line(pair, compressed, verb, damage):
    compressed.write_bytes(damage(compressed.read_bytes()))
    message = run(verb, compressed, *(("-m", pair, *Q) if verb == "ask" else ())).failure
    assert "town.e2llm" in message
    assert "compress the document again" in message


def test_a_compressed_document_that_is_missing_or_a_folder_is_refused(pair, tmp_path):
    (tmp_path / "folder.e2llm").mkdir()
    for name in ("missing.e2llm", "folder.e2llm"):
        assert name in run("ask", name, "-m", pair, *Q).mistake
        assert name in run("show", name).mistake


def test_a_document_of_another_pair_is_refused_and_its_text_is_not_read_instead(
    pair, other, compressed, town, tmp_path
):
    assert "was compressed by another model" in run("ask", compressed, "-m", other, *Q).mistake
    run("compress", town, "-m", pair, "--name", "kept")
    assert "was compressed by another model" in run("ask", "kept", "-m", other, *Q).mistake
    fresh = write(tmp_path / "fresh.txt", TEXT * 2)
    message = run("ask", fresh, compressed, "-m", other, *Q).mistake
    assert "was compressed by another model" in message


def test_two_pairs_keep_documents_of_the_same_file_side_by_side(pair, other, town):
    for folder in (pair, other):
        run("compress", town, "-m", folder)
    town.unlink()
    for folder in (pair, other):
        assert "read before" in run("ask", "town.txt", "-m", folder, *Q, *FEW).said


def test_a_damaged_stored_document_is_read_again_from_its_file_and_named_where_that_is_gone(
    pair, town, home
):
    run("compress", town, "-m", pair)
    (file,) = stored_files(home)
    whole = (home / "library" / file).read_bytes()
    (home / "library" / file).write_bytes(whole[:-9])
    message = run("ask", "town.txt" if town.rename("moved.txt") else "", "-m", pair, *Q).failure
    assert "e2llm library delete" in message
    again = run("ask", "moved.txt", "-m", pair, *Q, *FEW)
    assert again.said.startswith("Reading moved.txt")
    assert "read before" in run("ask", "moved.txt", "-m", pair, *Q, *FEW).said
    assert stored_files(home) == [file]


def test_a_damaged_registry_mends_itself(pair, town, home):
    run("compress", town, "-m", pair)
    (home / "library/registry.sqlite").write_bytes(b"nonsense" * 900)
    assert "read before" in run("ask", town, "-m", pair, *Q, *FEW).said
    assert len(run("library", "list", "--json").json) == 1
