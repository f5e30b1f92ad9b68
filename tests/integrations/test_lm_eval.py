"""lm-evaluation-harness: its tasks run on a pair, and what the pair reads of a request is what the
module says.
"""

import functools
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from e2llm.errors import MissingPackageError, UserError, WindowError
from tests.tiny import TEXT

lm_eval = pytest.importorskip("lm_eval")

from lm_eval.tasks import TaskManager  # noqa: E402

from e2llm.integrations.lm_eval import CompressingLM, main  # noqa: E402

QUESTION = "\n\nQuestion: Who approved the budget?\nAnswer:"
LONG = "Read this.\n\n" + TEXT + QUESTION
RECORD = {"passage": TEXT, "question": "Who approved the budget?", "id": 7}
SHORT = {"tail_chars": 30, "least_chars": 200}


@pytest.fixture(scope="module")
def folder(make_pair, tmp_path_factory) -> Path:
    """A pair, with a decoder without a chat template, that claims to be trained."""
    path = tmp_path_factory.mktemp("pair")
    make_pair(decoder="plain", trained=True).save(path)
    return path


@pytest.fixture(scope="module")
def make_lm(folder):
    """Make the model that the harness would make."""

    def make(**arguments) -> CompressingLM:
        return CompressingLM(
            **{
                "pretrained": str(folder),
                "dtype": "float32",
                "device": "cpu",
                "ratio": 4,
                "expand": 0,
                **SHORT,
                **arguments,
            }
        )

    return make


@pytest.fixture(scope="module")
def bare(bases):
    """The harness's own model of the decoder alone."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(
        pretrained=str(bases / "decoder-plain"), dtype="float32", device="cpu", batch_size=1
    )


def request(*arguments, record=None):
    return SimpleNamespace(args=arguments, doc=record)


def by_hand(lm, read, ids, soft_tokens):
    """Log-likelihood of `ids` after the ids `read`, in which None is the place of the soft tokens."""
    decoder = lm.pair.base.decoder
    look_up = decoder.get_input_embeddings()
    parts = [soft_tokens if part is None else look_up(torch.tensor(part)) for part in (*read, ids)]
    with torch.no_grad():
        logits = decoder(inputs_embeds=torch.cat(parts)[None]).logits[0]
    scores = logits[-len(ids) - 1 : -1].float().log_softmax(-1)
    return float(scores[range(len(ids)), ids].sum())


# What of a request is the document


@pytest.mark.parametrize(
    ("context", "record", "document"),
    [
        (LONG, RECORD, TEXT),
        (f"{TEXT}\n\nAn example: yes.\n\n{LONG}", RECORD, TEXT),  # the last of two
        (
            LONG,
            {},
            LONG[: LONG.rindex("Question")],
        ),  # no field: all but the tail, from a line's start
        (LONG, {"input": LONG}, LONG[: LONG.rindex("Question")]),  # one field for all
        (LONG, None, LONG[: LONG.rindex("Question")]),
        (QUESTION, RECORD, ""),
        ("", {}, ""),
    ],
)
def test_the_document_is_the_longest_field_that_stands_in_the_request_or_all_but_its_tail(
    make_lm, context, record, document
):
    start, end = make_lm().spans(context, record)[0]
    assert context[start:end] == document
    assert start == (context.rindex(document) if document else 0)


def test_the_chat_markers_before_the_user_s_words_are_no_document(make_pair, tmp_path):
    make_pair(trained=True).save(tmp_path)
    lm = CompressingLM(str(tmp_path), ratio=4, expand=0, dtype="float32", device="cpu", **SHORT)
    context = lm.apply_chat_template([{"role": "user", "content": TEXT + QUESTION}])
    start, end = lm.spans(context, {})[0]
    assert context[:start] == "<|start|>user\n"
    assert context[end:].endswith("Answer:<|end|>\n<|start|>assistant\n")
    prompt, _ = lm.read(context)
    assert prompt.ids[0] == lm.tokenizer.convert_tokens_to_ids("<|start|>")


# What is computed


def test_a_log_likelihood_equals_a_direct_computation(make_lm):
    lm = make_lm()
    [(total, greedy)] = lm.loglikelihood(
        [request(LONG, " The mayor", record=RECORD)], disable_tqdm=True
    )
    ids = lm.tokenizer(" The mayor")["input_ids"]
    read = (lm.tokenizer("Read this.\n\n")["input_ids"], None, lm.tokenizer(QUESTION)["input_ids"])
    document = lm.pair.compress(TEXT, ratio=4)
    assert document.n_soft < document.n_tokens / 3
    assert total == pytest.approx(by_hand(lm, read, ids, document.soft_tokens), abs=1e-4)
    assert not greedy


def test_what_is_too_short_to_be_compressed_is_what_the_bare_decoder_says(make_lm, bare):
    lm, text = make_lm(least_chars=10_000), TEXT[:150]
    requests = [
        request(text, " The mayor"),
        request(text + " ", "the budget"),
        request("", "The mayor"),
    ]
    for own, theirs in zip(
        lm.loglikelihood(requests, True), bare.loglikelihood(requests, True), strict=True
    ):
        assert own == (pytest.approx(theirs[0], abs=1e-4), theirs[1])
    rolling = [request(text), request("The")]
    assert lm.loglikelihood_rolling(rolling, True) == pytest.approx(
        bare.loglikelihood_rolling(rolling, True), abs=1e-4
    )
    for settings in (
        {"until": ["\n"], "max_gen_toks": 12},
        {"until": "e", "max_gen_toks": 12, "do_sample": False, "temperature": 1.0},
    ):
        writing = [request(text, settings)]
        assert lm.generate_until(writing, True) == bare.generate_until(writing, True)


def test_a_greedy_continuation_is_told(make_lm):
    lm = make_lm()
    [text] = lm.generate_until([request(LONG, {"max_gen_toks": 3}, record=RECORD)], True)
    [(_, greedy)] = lm.loglikelihood([request(LONG, text, record=RECORD)], True)
    assert greedy


def test_expanded_chunks_stand_between_the_soft_tokens_and_the_question(make_lm):
    lm = make_lm(expand=2)
    prompt, _ = lm.read(LONG, RECORD)
    assert prompt.soft_tokens is not None
    shown = lm.tokenizer.decode([id for id in prompt.ids if id != lm.pair.processor.placeholder_id])
    before, _, after = shown.partition("From document (characters ")
    assert before.startswith("Read this.")
    assert after.endswith(QUESTION)
    assert make_lm().read(LONG, RECORD)[0].ids[-5:] == prompt.ids[-5:]


def test_an_untrained_pair_reads_expanded_chunks_alone(make_pair, tmp_path):
    make_pair(decoder="plain").save(tmp_path)
    lm = CompressingLM(str(tmp_path), expand=1, dtype="float32", device="cpu", **SHORT)
    prompt, _ = lm.read(LONG, RECORD)
    assert prompt.soft_tokens is None
    assert "From document" in lm.tokenizer.decode(prompt.ids)


def test_what_does_not_fit_is_compressed_more_and_that_is_said(make_lm, caplog):
    lm = make_lm(ratio=1)
    prompt, _ = lm.read("Read this.\n" + 12 * TEXT + QUESTION, {"passage": 12 * TEXT}, n_answer=20)
    window = lm.pair.config.decoder_window
    assert window / 3 < len(prompt.ids) <= window - 20
    assert "ratio=1 does not fit" in caplog.text


def test_examples_that_do_not_fit_are_compressed_with_the_document(make_lm):
    lm = make_lm()
    context = "".join(f"Example {n}. {TEXT}" for n in range(6)) + LONG
    prompt, _ = lm.read(context, RECORD)
    assert prompt.ids[0] == lm.pair.processor.placeholder_id
    assert lm.tokenizer.decode(prompt.ids[-10:]) in QUESTION


def test_a_tail_that_no_window_holds_is_an_error(make_lm):
    lm = make_lm(tail_chars=3_000)
    with pytest.raises(WindowError):
        lm.read(8 * TEXT, {})


def test_of_a_long_text_every_piece_follows_the_soft_tokens_of_what_is_before(make_lm):
    lm, text = make_lm(), 4 * TEXT
    window = lm.pair.config.decoder_window
    pieces = list(lm._rolling(text))
    assert "".join(lm.tokenizer.decode(ids) for _, ids in pieces) == text
    assert all(
        len(ids) <= window // 2 and len(prompt.ids) + len(ids) <= window for prompt, ids in pieces
    )
    start, total = 0, 0.0
    for place, (prompt, ids) in enumerate(pieces):
        if place:
            torch.testing.assert_close(
                prompt.soft_tokens, lm.pair.compress(text[:start], ratio=lm._last.ratio).soft_tokens
            )
            total += by_hand(lm, (None,), ids, prompt.soft_tokens)
        else:
            total += by_hand(lm, ([lm.tokenizer.bos_token_id],), ids, None)
        start += len(lm.tokenizer.decode(ids))
    assert len(pieces) > 2
    assert lm.loglikelihood_rolling([request(text)], True) == [pytest.approx(total, abs=1e-2)]


def test_a_document_is_compressed_once_for_all_requests_about_it(make_lm, monkeypatch):
    lm = make_lm()
    n_calls, compress = [], lm.pair.compress
    monkeypatch.setattr(
        lm.pair, "compress", lambda *given, **named: n_calls.append(1) or compress(*given, **named)
    )
    lm.loglikelihood(
        [request(LONG, choice, record=RECORD) for choice in (" yes", " no", " the mayor")], True
    )
    assert len(n_calls) == 1


# How it is called


@pytest.fixture(scope="module")
def tasks(tmp_path_factory) -> Path:
    """A folder of tasks of every kind, over a local file."""
    folder = tmp_path_factory.mktemp("tasks")
    rows = [
        {
            "passage": f"Meeting {n}. {TEXT}",
            "question": f"Who met {n}?",
            "choices": [" Ann", " Bo"],
            "gold": n % 2,
        }
        for n in range(2)
    ]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "data.jsonl")}},
        "test_split": "test",
        "doc_to_text": "{{passage}}\n\nQuestion: {{question}}\nAnswer:",
    }
    kinds = {
        "town_choice": {
            "output_type": "multiple_choice",
            "doc_to_choice": "{{choices}}",
            "doc_to_target": "gold",
        },
        "town_write": {
            "output_type": "generate_until",
            "doc_to_target": "{{choices[0]}}",
            "generation_kwargs": {"until": ["\n"], "max_gen_toks": 4},
            "metric_list": [{"metric": "exact_match"}],
        },
        "town_text": {
            "output_type": "loglikelihood_rolling",
            "doc_to_text": "",
            "doc_to_target": "{{passage}}",
        },
    }
    for name, own in kinds.items():
        (folder / f"{name}.yaml").write_text(json.dumps({"task": name, **common, **own}))
    return folder


def test_the_harness_runs_tasks_of_every_kind(folder, tasks, make_lm):
    arguments = f"pretrained={folder},ratio=4,expand=0,tail_chars=30,least_chars=200,dtype=float32"
    names = ["town_choice", "town_write", "town_text"]
    manager = TaskManager(include_path=str(tasks), include_defaults=False)
    found = lm_eval.simple_evaluate(
        "e2llm", arguments, tasks=names, task_manager=manager, device="cpu", bootstrap_iters=0
    )
    assert set(found["results"]) == set(names)
    assert found["results"]["town_text"]["word_perplexity,none"] > 1
    sample = found["samples"]["town_choice"][0]
    requests = [
        request(
            f"Meeting 0. {TEXT}\n\nQuestion: Who met 0?\nAnswer:",
            f" {choice}",
            record=sample["doc"],
        )
        for choice in (" Ann", " Bo")
    ]
    direct = make_lm().loglikelihood(requests, True)
    assert [float(response[0][0]) for response in sample["resps"]] == pytest.approx(
        [total for total, _ in direct], abs=1e-3
    )


def test_the_documented_command_runs(folder, tasks, monkeypatch, capsys):
    own = functools.partial(
        TaskManager, include_defaults=False
    )  # reading the harness's 14,000 tasks takes it a while
    monkeypatch.setattr("lm_eval.tasks.TaskManager", own)
    arguments = f"pretrained={folder},ratio=chunk,least_chars=200,tail_chars=30,dtype=float32"
    options = (
        f"--model e2llm --model_args {arguments} --tasks town_choice --include_path {tasks} "
        "--device cpu --limit 1"
    )
    monkeypatch.setattr(sys, "argv", ["lm_eval", *options.split()])
    main()
    assert "town_choice" in capsys.readouterr().out


def test_a_mistake_on_the_command_line_is_told_in_one_line(tasks, monkeypatch, capsys):
    monkeypatch.setattr(
        "lm_eval.tasks.TaskManager", functools.partial(TaskManager, include_defaults=False)
    )
    options = (
        f"--model e2llm --model_args pretrained=nowhere --tasks town_choice --include_path {tasks}"
    )
    monkeypatch.setattr(sys, "argv", ["lm_eval", *options.split()])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "\ne2llm: `model` (='nowhere') must be one of smol.\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        {"ratio": 0.5},
        {"expand": -1},
        {"tail_chars": 0},
        {"least_chars": 0},
        {"pretrained": "nowhere"},
    ],
)
def test_arguments_are_checked(make_lm, arguments):
    with pytest.raises(UserError):
        make_lm(**arguments)


def test_settings_that_change_nothing_are_told_once(make_lm, caplog):
    lm = make_lm(batch_size=8)
    for _ in range(2):
        lm._sampling({"max_gen_toks": 2, "length_penalty": 2})
    assert (
        caplog.text.count("batch_size=8 changes nothing")
        == caplog.text.count("length_penalty=2 is not known here")
        == 1
    )


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval.api.model", None)
    monkeypatch.delitem(sys.modules, "e2llm.integrations.lm_eval")
    with pytest.raises(MissingPackageError, match=r"pip install 'e2llm\[lm-eval\]'"):
        import e2llm.integrations.lm_eval  # noqa: F401
