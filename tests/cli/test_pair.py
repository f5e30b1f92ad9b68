"""`e2llm pair` and `e2llm merge`: make pairs, and take them apart."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import e2llm.model  # noqa: F401 - registers the classes with transformers
from e2llm.cli.folders import new_folder
from tests import tiny
from tests.cli.asking import Q
from tests.cli.running import FEW, run


@pytest.mark.parametrize(
    ("adapter", "pooling"),
    [
        ("linear", None),
        ("linear", "cls"),
        ("mlp", None),
        ("mlp", "attention"),
        ("mlp", "tokens"),
        ("vpma", None),
        ("vpma", "mean"),
    ],
)
def test_every_adapter_and_pooling_makes_a_pair_that_answers(
    world, town, tmp_path, adapter, pooling
):
    given = ["--adapter", adapter, *(["--pooling", pooling] if pooling else [])]
    made = run("pair", world / "encoder", world / "decoder", "-o", "made", *given)
    assert (
        f"an untrained pair, adapter {adapter} over "
        f"{pooling or ('tokens' if adapter == 'vpma' else 'mean')} with " in made.said
    )
    assert run("ask", town, "-m", "made", *Q, *FEW, "--expand", 0).code == 0


def test_a_pair_holds_its_settings_and_no_base_weights(world, tmp_path):
    given = ["--chunk-chars", 200, "--overlap-chars", 10, "--ratio", "chunk", "--seed", 3]
    assert run("pair", world / "encoder", world / "decoder", "-o", "new/folder", *given).code == 0
    facts = run("show", "new/folder", "--json").json
    assert (
        facts["chunk_chars"],
        facts["overlap_chars"],
        facts["ratio"],
        facts["window_chunks"],
    ) == (200, 10, "chunk", 1)
    assert (tmp_path / "new/folder/model.safetensors").stat().st_size < (
        world / "decoder/model.safetensors"
    ).stat().st_size / 2
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["folder"]


def test_whoever_may_read_the_folder_may_read_all_of_a_pair(world, tmp_path):
    run("pair", world / "encoder", world / "decoder", "-o", "made")
    assert (
        len({path.stat().st_mode for path in (tmp_path / "made").iterdir() if path.is_file()}) == 1
    )


def test_the_same_seed_makes_the_same_bytes(world, tmp_path):
    for name, seed in (("one", 5), ("again", 5), ("two", 6)):
        run("pair", world / "encoder", world / "decoder", "-o", name, "--seed", seed)
    one, again, two = (
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "again", "two")
    )
    assert one == again != two


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            ["--adapter", "mpl"],
            "`adapter` (='mpl') must be one of linear, mlp, vpma, residual; did you mean 'mlp'?",
        ),
        (["--pooling", "mena"], "did you mean 'mean'?"),
        (["--ratio", "0"], "`ratio` (='0')"),
        (["--chunk-chars", "0"], "`size` (=0)"),
        (["--overlap-chars", "300"], "`overlap` (=300)"),
        (["--window", "0"], "`window_chunks` (=0)"),
        (["--window", "2", "--overlap-chars", "10"], "1 where chunks overlap"),
        (["--seed", "-1"], "`seed` (=-1)"),
        (["--dtype", "float"], None),
        (["--dtype", "flaot32"], "`dtype` (='flaot32')"),
    ],
)
def test_a_setting_that_no_document_could_be_compressed_with_is_refused(
    world, tmp_path, given, words
):
    result = run("pair", world / "encoder", world / "decoder", "-o", "made", *given)
    if words is None:
        assert result.code == 0
    else:
        assert words in result.mistake
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", ["encoder", "decoder"])
@pytest.mark.parametrize("name", ["missing", "/missing/folder", "not a name", "missing/model"])
def test_a_base_that_is_not_there_is_named(world, tmp_path, part, name):
    names = {"encoder": world / "encoder", "decoder": world / "decoder", part: name}
    assert (
        f"`{part}` (='{name}') cannot be loaded"
        in run("pair", names["encoder"], names["decoder"], "-o", "made").mistake
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", ["pair", "merge"])
def test_an_output_that_holds_something_is_refused_and_left_alone(pair, world, tmp_path, verb):
    parts = [world / "encoder", world / "decoder"] if verb == "pair" else [pair]
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    assert "is not empty" in run(verb, *parts, "-o", "full").mistake
    assert "is a file" in run(verb, *parts, "-o", "full/mine.txt").mistake
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_written_into_also_where_the_user_is_in_it(world, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert run("pair", world / "encoder", world / "decoder", "-o", ".").code == 0
    assert Path("config.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_folder_is_whole_or_not_there(tmp_path):
    def interrupted() -> None:
        with new_folder(tmp_path / "made") as folder:
            (folder / "half").write_text("written")
            assert not (tmp_path / "made").exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


# A pair whose parts were damaged since


@pytest.fixture
def broken(pair, tmp_path) -> Path:
    return shutil.copytree(pair, tmp_path / "broken")


def configure(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: cut_short(folder / "config.json"), "is no pair"),
        (lambda folder: cut_short(folder / "model.safetensors"), "truncated or damaged"),
        (lambda folder: cut_short(folder / "processor_config.json"), "processor cannot be loaded"),
        (
            lambda folder: configure(folder, encoder_name="/gone"),
            "`encoder` (='/gone') cannot be loaded",
        ),
        (
            lambda folder: configure(folder, decoder_name="/gone"),
            "`decoder` (='/gone') cannot be loaded",
        ),
        (
            lambda folder: configure(folder, decoder_name="package:gone/model"),
            "e2llm models --fetch",
        ),
        (lambda folder: configure(folder, adapter="mlpp"), "did you mean 'mlp'"),
        (lambda folder: configure(folder, adapter="vpma"), "does not fit its config.json"),
        (
            lambda folder: (
                (folder / "model.safetensors").unlink(),
                configure(folder, trained=True),
            ),
            "holds no model.safetensors",
        ),
        (
            lambda folder: [path.unlink() for path in folder.rglob("tokenizer.json")],
            "processor cannot be loaded",
        ),
    ],
)
def test_a_damaged_pair_is_an_error_of_one_line(broken, town, damage, words):
    damage(broken)
    assert words in run("ask", town, "-m", broken, *Q, *FEW).mistake


def test_a_base_with_damaged_weights_is_an_error_of_one_line(world, broken, town, tmp_path):
    shutil.copytree(world / "decoder", tmp_path / "decoder")
    cut_short(tmp_path / "decoder/model.safetensors")
    configure(broken, decoder_name=str(tmp_path / "decoder"))
    assert "`decoder` (=" in run("ask", town, "-m", broken, *Q, *FEW).mistake


@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_a_model_that_is_no_pair_is_refused(world, town, name):
    assert (
        "model, not a pair; make one with `e2llm pair"
        in run("ask", town, "-m", world / name, *Q).mistake
    )


# Merging


@pytest.fixture
def bases_to_lose(tmp_path) -> tuple[str, str]:
    return tiny.make_encoder(tmp_path / "encoder", seed=7), tiny.make_decoder(
        tmp_path / "decoder", seed=7
    )


def test_a_merged_pair_needs_no_bases(bases_to_lose, town, tmp_path):
    run("pair", *bases_to_lose, "-o", "light", "--dtype", "float32", "--chunk-chars", 120)
    expected = run("ask", town, "-m", "light", *Q, *FEW, "--expand", 0, "--no-store").stdout
    assert "full: the full pair, " in run("merge", "light", "-o", "full", "--dtype", "float32").said
    for base in bases_to_lose:
        shutil.rmtree(base)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "full")
    assert type(model).__name__ == "E2LLMForCausalLM"
    assert run("ask", town, "-m", "full", *Q, *FEW, "--expand", 0).stdout == expected
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_the_decoder_alone_is_a_plain_model(bases_to_lose, tmp_path):
    run("pair", *bases_to_lose, "-o", "light", "--dtype", "float32")
    decoder = AutoModelForCausalLM.from_pretrained(bases_to_lose[1])
    assert (
        "plain: the plain decoder, "
        in run("merge", "light", "-o", "plain", "--decoder", "--dtype", "float32").said
    )
    for base in bases_to_lose:
        shutil.rmtree(base)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    assert type(plain) is type(decoder)
    ids = AutoTokenizer.from_pretrained(tmp_path / "plain")(
        "Who approved it?", return_tensors="pt"
    )["input_ids"]
    assert torch.equal(plain(ids).logits, decoder(ids).logits)


def test_an_unknown_pair_cannot_be_merged():
    assert "did you mean 'smol'?" in run("merge", "smal", "-o", "merged").mistake
