"""The default pair with its real weights: the capability from end to end."""

import pytest

from e2llm import E2LLM, CompressedDocument
from examples.python_reference import reference

pytestmark = pytest.mark.smol


@pytest.fixture(scope="module")
def smol():
    return E2LLM.from_pretrained("smol", device="cpu")


@pytest.fixture(scope="module")
def document(smol):
    """A tenth of the Python reference."""
    text = reference()
    start = text.index("\ncompound\n")
    return smol.compress(text[start : start + 50_000], name="reference")


def test_a_real_document_is_read_stored_and_asked(smol, document, tmp_path):
    assert document.ratio_got == pytest.approx(8, rel=0.05)
    document.save(tmp_path / "reference.e2llm")
    stored = CompressedDocument.load(tmp_path / "reference.e2llm")
    answer = smol.ask("How are default parameter values evaluated?", stored, max_new_tokens=40)
    assert "left to right" in answer.text
    assert any("evaluated from left to right" in " ".join(chunk.text.split()) for chunk in answer.expanded)
    assert all(chunk.text == document.text[chunk.start : chunk.end] for chunk in answer.expanded)


def test_the_right_chunk_is_among_the_four_that_are_expanded(smol, document):
    for question, wanted in {
        "When is the finally clause executed?": 'the "finally" clause',
        "How does a while loop end?": 'The "while" statement',
    }.items():
        ranked = smol._rank(question, [document])[:4]
        assert any(wanted in " ".join(document.chunks[index].text.split()) for _, index, _ in ranked), question


def test_the_untrained_pair_says_so(smol, document):
    answer = smol.ask("What is a coroutine?", document, max_new_tokens=4)
    assert not smol.config.trained
    assert "untrained" in answer.notices[0]


def test_the_sentence_embeddings_are_those_of_sentence_transformers(smol, document):
    from sentence_transformers import SentenceTransformer

    from e2llm.model.bases import resolve

    reference_model = SentenceTransformer(resolve(smol.config.encoder_name), device="cpu")
    expected = reference_model.encode([chunk.text for chunk in document.chunks[:20]], convert_to_tensor=True)
    cosines = (document.embeddings[:20] * expected).sum(-1)
    assert cosines.min() > 0.999
