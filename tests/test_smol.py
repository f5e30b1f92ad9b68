"""The default pair with its real weights: the capability from end to end."""

import pytest

from e2llm import E2LLM, CompressedDocument
from e2llm.methods import make_method
from e2llm.reading.notices import cut_notice
from e2llm.training.tasks.understanding import wordings
from examples.python_reference import reference

pytestmark = pytest.mark.smol


@pytest.fixture(scope="module")
def smol():
    return E2LLM.from_pretrained("smol", device="cpu")


@pytest.fixture(scope="module")
def document(smol):
    """A tenth of the Python reference."""
    text = reference()
    middle = text.index("\nnonlocal\n")
    return smol.compress(text[middle - 25_000 : middle + 25_000], name="reference")


def test_a_real_document_is_read_stored_and_asked(smol, document, tmp_path):
    assert document.ratio_got == pytest.approx(smol.config.ratio, rel=0.05)
    document.save(tmp_path / "reference.e2llm")
    stored = CompressedDocument.load(tmp_path / "reference.e2llm")
    answer = smol.ask("What does the nonlocal statement do?", stored, max_new_tokens=40)
    # A whole sentence, though the text is wrapped in the middle of it.
    assert "rebind variables outside of the local scope" in answer.text
    assert any("enclosing scope" in " ".join(chunk.text.split()) for chunk in answer.expanded)
    assert all(chunk.text == document.text[chunk.start : chunk.end] for chunk in answer.expanded)


def test_the_right_chunk_is_among_the_four_that_are_expanded(smol, document):
    for question, wanted in {
        "What does a return statement do?": '"return" may only occur',
        "What does the raise statement do?": '"raise" re-raises',
    }.items():
        ranked = smol.rank(question, [document])[:4]
        assert any(
            wanted in " ".join(document.chunks[index].text.split()) for _, index, _ in ranked
        ), question


def test_what_the_document_does_not_say_is_refused_and_what_it_says_is_not(smol, document):
    answer = smol.ask("Who painted the ceiling of the Sistine Chapel?", document)
    assert (answer.text, answer.found) == ("The document does not say.", False)
    assert answer.expanded
    for question in ("What does the nonlocal statement do?", "How does a return statement end?"):
        assert smol.ask(question, document, max_new_tokens=1).found


def test_the_trained_pair_reads_its_soft_tokens(smol, document):
    answer = smol.ask("What is a coroutine?", document, expand=0, max_new_tokens=4)
    assert smol.config.trained
    assert answer.notices == (cut_notice(4),)
    assert answer.usage.n_soft == document.n_soft


@pytest.mark.parametrize(("ratio", "gain"), [(1, 2.0), (4, 0.5), (16, 0.1)])
def test_a_passage_is_restated_better_from_its_soft_tokens_than_from_nothing(smol, ratio, gain):
    """The nats per token of the right text fall, the more the lower the ratio."""
    text = (
        "The old lighthouse keeper counted nineteen ships that morning, and wrote their names in "
        "a green ledger before breakfast."
    )
    floor = make_method("no-document", smol)
    method = make_method(f"e2llm:ratio={ratio}:expand=0", smol)
    without, read = (
        float(own.score(own.read(text), wordings()[0], text).mean()) for own in (floor, method)
    )
    assert read < without - gain


def test_training_has_kept_the_sentence_embeddings_near_those_of_the_untouched_encoder(
    smol, document
):
    from sentence_transformers import SentenceTransformer

    from e2llm.model.bases import resolve

    reference_model = SentenceTransformer(resolve(smol.config.encoder_name), device="cpu")
    expected = reference_model.encode(
        [chunk.text for chunk in document.chunks[:20]], convert_to_tensor=True
    )
    cosines = (document.embeddings[:20] * expected).sum(-1)
    assert cosines.min() > 0.9
