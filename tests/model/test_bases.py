"""Base models: where they come from, what their folders say, and what is refused."""

import json
import pickle
from contextlib import nullcontext

import pytest
import torch
import transformers as tf
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Normalize, Pooling, Transformer

from e2llm.errors import MissingPackageError, UserError
from e2llm.model import bases as base_models
from e2llm.pair import E2LLM
from tests import tiny

QUESTION = "Who approved the budget?"


def make_sentence_transformer(
    folder,
    bases_folder,
    pooling="mean",
    normalize=True,
    prompts=None,
    max_seq_length=64,
    include_prompt=True,
):
    """Save a tiny sentence-transformers folder with the library itself."""
    encoder = Transformer(str(bases_folder / "encoder-bert"), max_seq_length=max_seq_length)
    modules = [
        encoder,
        Pooling(
            encoder.auto_model.config.hidden_size,
            pooling_mode=pooling,
            include_prompt=include_prompt,
        ),
    ]
    if normalize:
        modules.append(Normalize())
    model = SentenceTransformer(
        modules=modules,
        device="cpu",
        prompts=prompts,
        similarity_fn_name=None if normalize else "dot",
    )
    model.save(str(folder))
    return model


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken"])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("prompts", [None, {"query": "the mayor: ", "document": "a book: "}])
def test_sentence_embeddings_equal_those_of_sentence_transformers(
    bases, tmp_path, pooling, normalize, prompts
):
    reference = make_sentence_transformer(tmp_path, bases, pooling, normalize, prompts)
    pair = E2LLM.pair(
        str(tmp_path), str(bases / "decoder-llama"), dtype="float32", device="cpu", chunk_chars=90
    )
    document = pair.compress(tiny.TEXT * 2)
    chunks = [chunk.text for chunk in document.chunks]
    expected = torch.from_numpy(
        reference.encode(chunks, prompt_name="document" if prompts else None)
    )
    torch.testing.assert_close(document.embeddings, expected, atol=1e-5, rtol=1e-4)
    question = torch.from_numpy(
        reference.encode(QUESTION, prompt_name="query" if prompts else None)
    )
    torch.testing.assert_close(
        pair.compressor.embed_question(QUESTION), question, atol=1e-5, rtol=1e-4
    )


def test_a_folder_that_leaves_the_prompt_out_of_its_embeddings_is_honoured(bases, tmp_path):
    prompts = {"query": "the mayor: ", "document": "a book: "}
    reference = make_sentence_transformer(tmp_path, bases, prompts=prompts, include_prompt=False)
    pair = E2LLM.pair(
        str(tmp_path), str(bases / "decoder-llama"), dtype="float32", device="cpu", chunk_chars=90
    )
    question = torch.from_numpy(reference.encode(QUESTION, prompt_name="query"))
    torch.testing.assert_close(
        pair.compressor.embed_question(QUESTION), question, atol=1e-5, rtol=1e-4
    )


def test_a_sentence_transformers_folders_maximum_length_is_kept(bases, tmp_path):
    make_sentence_transformer(tmp_path, bases, max_seq_length=33)
    pair = E2LLM.pair(str(tmp_path), str(bases / "decoder-llama"), dtype="float32", device="cpu")
    assert pair.processor.encoder_max_tokens == 33
    assert (
        max(
            len(row.input_ids)
            for row in pair.processor.encoder_rows(tiny.TEXT, [(0, len(tiny.TEXT))])
        )
        == 33
    )


@pytest.mark.parametrize(
    ("family", "expected"),
    [("bert", 128), ("roberta", 128), ("xlm-roberta", 128), ("mpnet", 128), ("modernbert", 128)],
)
def test_the_longest_input_is_what_the_position_table_allows(family, expected):
    tokenizer = tiny.encoder_tokenizer()
    config = tiny.ENCODERS[family]()
    if family in ("roberta", "xlm-roberta", "mpnet"):
        assert config.max_position_embeddings == 130
        expected = (
            128 if family == "mpnet" else 129
        )  # the table's rows after the padding row: id 0 here, but MPNet's class takes 1
    tokenizer_limit = tokenizer.model_max_length
    try:
        tokenizer.model_max_length = 10**30
        assert (
            base_models.encoder_max_tokens(base_models.EncoderSettings(), tokenizer, config)
            == expected
        )
    finally:
        tokenizer.model_max_length = tokenizer_limit
    ids = torch.full((1, expected), 7)
    assert (
        tf.AutoModel.from_config(config)
        .eval()(input_ids=ids, attention_mask=torch.ones_like(ids))
        .last_hidden_state.isfinite()
        .all()
    )
    with pytest.raises((IndexError, RuntimeError)) if family != "modernbert" else nullcontext():
        tf.AutoModel.from_config(config).eval()(
            input_ids=torch.full((1, expected + 1), 7), attention_mask=torch.ones(1, expected + 1)
        )


def test_the_embedding_norm_is_measured_as_the_decoder_puts_it_out(make_pair):
    for family in ("llama", "gemma2"):
        decoder = make_pair(decoder=family).model.decoder
        with torch.no_grad():
            norms = decoder.get_input_embeddings()(torch.arange(400)).norm(dim=-1)
        assert base_models.input_embedding_norm(decoder) == pytest.approx(
            norms[norms > 0].mean().item(), rel=1e-4
        )


def test_weights_inside_a_package_are_found_without_running_it(tmp_path, monkeypatch):
    package = tmp_path / "some_weights"
    tiny.make_encoder(package / "model")
    (package / "__init__.py").write_text("raise SystemExit('this code must not run')")
    monkeypatch.syspath_prepend(tmp_path)
    assert base_models.load_encoder("package:some_weights/model").config.hidden_size == 32


@pytest.mark.parametrize(
    "name",
    [
        "package:e2llm.model/x",
        "package:e2llm/../../etc",
        "package:e2llm//etc",
        "package:/etc",
        "package:",
    ],
)
def test_a_package_name_reaches_nothing_but_the_inside_of_a_package(name):
    with pytest.raises(UserError, match="must be package:MODULE/PATH"):
        base_models.resolve(name)


@pytest.mark.parametrize("folder", ["../elsewhere", "/etc"])
def test_a_modules_file_that_names_a_folder_outside_is_refused(bases, tmp_path, folder):
    make_sentence_transformer(tmp_path, bases)
    modules = json.loads((tmp_path / "modules.json").read_text())
    modules[1]["path"] = folder
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(UserError, match="outside it"):
        base_models.read_encoder_settings(str(tmp_path))


@pytest.mark.parametrize("damage", ["gguf", "modules", "shape", "config"])
def test_a_damaged_base_is_an_error_of_one_line(bases, tmp_path, damage):
    decoder = tiny.make_decoder(tmp_path / "decoder")
    encoder = tiny.make_encoder(tmp_path / "encoder")
    config = json.loads((tmp_path / "decoder/config.json").read_text())
    if damage == "gguf":
        decoder = str(tmp_path / "broken.gguf")
        (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(200))
    elif damage == "modules":
        (tmp_path / "encoder/modules.json").write_text("{broken")
    elif damage == "shape":
        (tmp_path / "decoder/config.json").write_text(json.dumps({**config, "hidden_size": 64}))
    else:
        (tmp_path / "decoder/config.json").write_text(
            json.dumps({**config, "num_hidden_layers": "many"})
        )
    with pytest.raises(UserError) as error:
        E2LLM.pair(encoder, decoder, dtype="float32", device="cpu")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["package:no_such_weights/model", "package:e2llm/no_such_folder"])
def test_missing_weight_packages_say_how_to_get_them(name):
    with pytest.raises(MissingPackageError, match="e2llm models --fetch"):
        base_models.load_encoder(name)


def test_pickled_weights_are_refused(tmp_path):
    tiny.make_decoder(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    with pytest.raises(UserError, match=r"`decoder` .* safetensors"):
        base_models.load_decoder(str(tmp_path))


def test_a_folders_own_code_does_not_run_unless_asked(tmp_path):
    tiny.make_decoder(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {
        "model_type": "strange",
        "auto_map": {
            "AutoConfig": "strange.StrangeConfig",
            "AutoModelForCausalLM": "strange.Strange",
        },
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "strange.py").write_text("raise SystemExit('this code must not run')")
    with pytest.raises(UserError, match="trust_remote_code"):
        base_models.load_decoder(str(tmp_path), trust_remote_code=False)


@pytest.mark.parametrize("argument", ["encoder", "decoder"])
def test_a_model_that_is_not_there_is_named_in_one_line(argument, tmp_path):
    with pytest.raises(
        UserError, match=f"`{argument}` \\(='.*nowhere'\\) cannot be loaded"
    ) as error:
        getattr(base_models, f"load_{argument}")(str(tmp_path / "nowhere"))
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_an_encoder_without_a_fast_tokenizer_is_refused(tmp_path):
    tiny.make_encoder(tmp_path)
    for file in tmp_path.glob("tokenizer*"):
        file.unlink()
    tf.CanineTokenizer().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="no fast tokenizer"):
        base_models.load_encoder_tokenizer(str(tmp_path))
