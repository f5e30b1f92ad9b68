"""`e2llm ask`: every kind of file, every form of answer, every option."""

import re

import pytest

from e2llm import E2LLM
from e2llm.reading.found import digest_encoder
from tests.cli.asking import Q, documents_of
from tests.cli.running import FEW, run, write
from tests.documents.files import write_docx, write_pdf
from tests.tiny import TEXT

MORE = ("--max-new-tokens", 12, "--dtype", "float32")


# What can be asked


def test_a_text_file_is_answered_about(pair, town):
    result = run("ask", town, "-m", pair, *Q, *FEW)
    assert result.code == 0
    assert result.stdout.strip()


@pytest.mark.parametrize("suffix", ["txt", "md", "html", "pdf", "docx"])
def test_every_kind_of_file_is_read(pair, tmp_path, suffix):
    path = tmp_path / f"town.{suffix}"
    if suffix == "pdf":
        write_pdf(path, ["The mayor approved it.", "The bridge was built in 1887."])
    elif suffix == "docx":
        write_docx(path, "<w:p><w:r><w:t>The mayor approved it.</w:t></w:r></w:p>")
    else:
        path.write_text(
            "<p>The mayor approved it.</p>" if suffix == "html" else "The mayor approved it."
        )
    answered = run("ask", path, "-m", pair, *Q, *FEW, "--json").json
    assert [document["name"] for document in answered["documents"]] == [path.name]
    assert "The mayor approved it." in answered["expanded"][0]["text"]
    assert [chunk["page"] for chunk in answered["expanded"]] == ([1] if suffix == "pdf" else [None])


def test_several_files_are_asked_at_once_in_the_order_given(pair, town, tmp_path):
    others = [write(tmp_path / f"{name}.txt", TEXT + name) for name in "zab"]
    answered = run("ask", others[0], town, *others[1:], "-m", pair, *Q, *FEW, "--json")
    names = [document["name"] for document in documents_of(answered)]
    assert names == ["z.txt", "town.txt", "a.txt", "b.txt"]


def test_a_question_without_a_document_asks_the_decoder_alone(pair):
    result = run("ask", "-m", pair, *Q, *FEW, "--json")
    answered = result.json
    assert "no document was given: the decoder answers from memory" in result.stderr
    assert answered["found"] is None
    assert answered["documents"] == answered["expanded"] == []
    assert answered["notices"] == ["the answer was cut after 4 tokens (`max_new_tokens`)."]
    assert answered["usage"]["n_answer_tokens"] > 0


def test_standard_input_is_a_document(pair):
    answered = run("ask", "-", "-m", pair, *Q, *FEW, "--json", stdin=TEXT)
    assert [document["name"] for document in documents_of(answered)] == ["stdin"]
    assert answered.json["expanded"][0]["text"] in TEXT


def test_a_compressed_file_and_a_stored_name_give_the_answer_of_the_text(pair, town, tmp_path):
    expected = run("ask", town, "-m", pair, *Q, *FEW, "--no-store").stdout
    assert run("compress", town, "-m", pair, "-o", tmp_path / "kept.e2llm").code == 0
    assert run("compress", town, "-m", pair).code == 0
    town.unlink()
    for name in (tmp_path / "kept.e2llm", "town.txt"):
        result = run("ask", name, "-m", pair, *Q, *FEW)
        assert result.stdout == expected
        assert "read before" in result.said


def test_files_stored_names_and_compressed_files_go_together(pair, town, tmp_path):
    run("compress", town, "-m", pair, "--name", "kept")
    run("compress", write(tmp_path / "b.txt", TEXT + "b"), "-m", pair, "-o", tmp_path / "b.e2llm")
    files = (tmp_path / "b.e2llm", "kept", write(tmp_path / "c.txt", TEXT + "c"))
    documents = documents_of(run("ask", *files, "-m", pair, *Q, *FEW, "--json"))
    was_read = [(document["name"], document["compress_s"] > 0) for document in documents]
    assert was_read == [("b.txt", False), ("kept", False), ("c.txt", True)]


def test_a_stored_document_is_asked_by_the_first_digits_of_its_key(pair, town):
    key = run("compress", town, "-m", pair, "--json").json["key"]
    town.unlink()
    assert run("ask", key[:8], "-m", pair, *Q, *FEW).code == 0


# The form of the answer


def test_json_is_one_object_with_answer_places_cost_documents_and_notices(pair, town):
    result = run("ask", town, "-m", pair, *Q, *FEW, "--expand", 2, "--json")
    answered = result.json
    assert set(answered) == {
        *("answer", "finish_reason", "found", "expanded", "usage", "plan", "documents", "notices"),
        "failures",
    }
    assert answered["finish_reason"] == "length"
    assert (
        answered["answer"] == run("ask", town, "-m", pair, *Q, *FEW, "--expand", 2).stdout.strip()
    )
    for chunk in answered["expanded"]:
        assert chunk["text"] == TEXT[chunk["start"] : chunk["end"]]
        assert chunk["document"] == "town.txt"
    usage = answered["usage"]
    assert usage["n_answer_tokens"] <= 4
    assert 0 < usage["rank_s"] < usage["first_token_s"] <= usage["total_s"]
    (document,) = answered["documents"]
    assert (
        document["n_tokens"] / document["n_soft"] == document["ratio"] == pytest.approx(8, rel=0.05)
    )
    assert document["compress_s"] > 0
    assert "untrained" in answered["notices"][0]


def test_what_the_document_does_not_say_is_no_failure_and_can_be_asked_all_the_same(
    pair, town, tmp_path
):
    loaded = E2LLM.from_pretrained(pair, device="cpu", dtype="float32")
    weights = {"closeness": 0, "names": 0, "bias": -1}
    loaded.config.found = {**weights, "encoder": digest_encoder(loaded.compressor)}
    loaded.save(tmp_path / "weighed")
    asked = ("ask", town, "-m", tmp_path / "weighed", *Q, *FEW)
    refused = run(*asked, "--json")
    assert refused.code == 0
    assert refused.json["answer"] == "The document does not say."
    assert refused.json["found"] is False
    assert refused.json["expanded"]
    answered = run(*asked, "--no-refuse", "--json").json
    assert answered["found"] is False
    assert answered["usage"]["n_answer_tokens"] > 0


def test_the_answer_alone_is_on_standard_output(pair, town):
    result = run("ask", town, "-m", pair, *Q, *FEW)
    assert result.stdout.count("\n") == 1
    assert result.stdout.strip() == run("ask", town, "-m", pair, *Q, *FEW, "--json").json["answer"]


def test_it_says_how_much_there_is_to_read_and_how_long_that_takes_before_it_answers(pair, town):
    first, *_ = run("ask", town, "-m", pair, *Q, *FEW).said.splitlines()
    assert first == f"Reading town.txt: {len(TEXT)} characters, about 1 s."


def test_one_line_sums_up_tokens_soft_tokens_ratio_seconds_and_expanded_places(pair, tmp_path):
    pdf = write_pdf(
        tmp_path / "two.pdf", ["The mayor approved it.", "The bridge was built in 1887."]
    )
    (line,) = (
        line
        for line in run("ask", pdf, "-m", pair, *Q, *FEW, "--chunk-chars", 30).said.splitlines()
        if line.startswith("[")
    )
    assert re.fullmatch(
        r"\[two\.pdf: \d+ tokens of text, \d+ soft tokens \(ratio [\d.]+\), in [\d.]+ s; "
        r"first token after [\d.]+ s; \d+ decoder positions; "
        r"expanded two\.pdf 0-24 \(page 1\), two\.pdf 24-53 \(page 2\)\]",
        line,
    )


def test_the_ratio_is_noted_once_and_only_where_one_was_asked_for(trained, tmp_path):
    notes = [write(tmp_path / f"{n}.txt", f"Note {n} is short.") for n in range(4)]
    asked = ("ask", *notes, "-m", trained, *Q, *FEW, "--no-store", "--expand", 0)
    assert "text tokens per soft token" not in run(*asked).said
    said = run(*asked, "--ratio", 50).said
    assert said.count("asked for 50 text tokens per soft token") == 1
    assert "4 of 4 documents (0.txt, 1.txt, 2.txt and 1 more)" in said


def test_every_answer_that_was_cut_says_so(pair, town):
    said = run("ask", town, "-m", pair, *FEW, stdin="Who approved it?\nWhat was built?\n").said
    assert said.count("the answer was cut after 4 tokens") == 2


# Untrained and unknown pairs, and sampling


def test_an_untrained_pair_says_what_its_answer_rests_on(pair, trained, town):
    expanded = run("ask", town, "-m", pair, *Q, *FEW, "--expand", 2)
    assert "soft tokens are left out" in expanded.said
    assert "carry no meaning yet" in run("ask", town, "-m", pair, *Q, *FEW, "--expand", 0).said
    for own in (pair, trained):  # all of it stands as text
        assert "untrained" not in run("ask", town, "-m", own, *Q, *FEW).said


def test_the_pair_may_be_named_in_the_environment(pair, town, monkeypatch):
    monkeypatch.setenv("E2LLM_MODEL", str(pair))
    assert run("ask", town, *Q, *FEW).code == 0


def test_an_unknown_pair_suggests_the_nearest(town):
    assert "did you mean 'smol'?" in run("ask", town, "-m", "smal", *Q).mistake


def test_sampling_repeats_with_a_seed(pair, town):
    sampled = [
        run("ask", town, "-m", pair, *Q, *MORE, "--temperature", 1.5, "--seed", seed, "--json")
        for seed in (1, 1, 2)
    ]
    one, again, two = (result.json["answer"] for result in sampled)
    assert one == again != two


def test_greedy_is_the_default_and_the_other_options_reach_the_decoder(pair, town):
    asked = ("ask", town, "-m", pair, *Q)
    greedy = run(*asked, *MORE).stdout
    assert run(*asked, *MORE, "--temperature", 2, "--top-k", 1).stdout == greedy
    assert run(*asked, *MORE, "--temperature", 2, "--top-p", 1e-9).stdout == greedy
    # Long enough for a model of random weights to repeat itself, and then to be kept from it.
    long = ("--max-new-tokens", 100, "--dtype", "float32")
    penalised = run(*asked, *long, "--repetition-penalty", 5).stdout
    assert penalised != run(*asked, *long).stdout
    assert run(*asked, *MORE, "--num-beams", 3).code == 0
