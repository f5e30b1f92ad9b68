"""The harness's own long-document tasks: their real templates and settings, on our documents.

Documents of our own stand in place of the data sets.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from tests import tiny
from tests.tiny import TEXT

lm_eval = pytest.importorskip("lm_eval")
datasets = pytest.importorskip("datasets")

from lm_eval.api.task import ConfigurableTask  # noqa: E402
from lm_eval.tasks._yaml_loader import load_yaml  # noqa: E402

from e2llm.integrations.lm_eval import CompressingLM  # noqa: E402
from e2llm.pair import E2LLM  # noqa: E402

TASKS = Path(lm_eval.__file__).parent / "tasks"
DOCUMENT = "\n".join(f"Meeting {n}. {TEXT.strip()}" for n in range(6))
ASKED = "Who approved the budget?"
# Packages that only the scoring needs; they stand in where they are not installed.
SCORING = {"jieba": {}, "fuzzywuzzy": {"fuzz": None}, "rouge": {"Rouge": None}}
ROWS = {
    "longbench": {
        "context": DOCUMENT,
        "question": ASKED,
        "answers": ["The mayor"],
        "all_classes": ["a"],
        "length": 1,
        "language": "en",
    },
    "longbench2": {
        "context": DOCUMENT,
        "question": ASKED,
        "choices": ["Ann", "Bo", "Cleo", "Dan"],
        "answer": 1,
    },
    "infinitebench": {
        "id": 1,
        "context": DOCUMENT,
        "input": ASKED,
        "answer": ["The mayor"],
        "options": ["Ann", "Bo", "Cleo", "Dan"],
    },
    "babilong": {"input": f" {DOCUMENT} \n", "question": f"{ASKED} ", "target": "hall"},
    "ruler": {
        "input": f"Some numbers are hidden.\n{DOCUMENT}\n{ASKED}",
        "outputs": ["1234567"],
        "gen_prefix": "The special magic number is",
        "max_length": 4096,
    },
}
# Where the template asks in its own words, or the document is all there is.
UNASKED = (
    "_lcc",
    "_passage_count",
    "_passage_retrieval",
    "_gov_report",
    "_multi_news",
    "_vcsum",
    "_sum_en",
    "_code_",
    "_longdialogue",
)


def files(group: str) -> list[Path]:
    """The tasks of a group, without those that are lists of tasks."""
    paths = sorted((TASKS / group).glob("*.yaml"))
    return [
        path for path in paths if isinstance(load_yaml(path, resolve_func=False).get("task"), str)
    ]


@pytest.fixture(scope="module", autouse=True)
def packages():
    """What tasks import and do not need here; nothing is downloaded."""
    with pytest.MonkeyPatch.context() as patch:
        for name, content in SCORING.items():
            if importlib.util.find_spec(name) is None:
                module = ModuleType(name)
                module.__dict__.update(content)
                patch.setitem(sys.modules, name, module)
        if importlib.util.find_spec("nltk"):
            patch.setattr("nltk.download", lambda *_: True)
        yield


@pytest.fixture(scope="module")
def models(bases, tmp_path_factory) -> dict[bool, CompressingLM]:
    """A pair whose decoder has a chat template, and one whose decoder has none.

    Their windows hold the longest answers.
    """
    made = {}
    for chat in (False, True):
        folder = tmp_path_factory.mktemp("lm")
        decoder = tiny.make_decoder(folder / "decoder", chat=chat, max_position_embeddings=2048)
        E2LLM.pair(
            str(bases / "encoder-bert"),
            decoder,
            chunk_chars=120,
            dtype="float32",
            device="cpu",
            trained=True,
        ).save(folder / "pair")
        made[chat] = CompressingLM(
            str(folder / "pair"),
            ratio=8,
            expand=0,
            least_chars=1_000,
            dtype="float32",
            device="cpu",
        )
    return made


def requests(path: Path, row: dict, lm: CompressingLM, chat: bool) -> tuple[ConfigurableTask, list]:
    """What the harness asks about one record."""
    config = load_yaml(path)
    split = config.get("test_split") or config.get("validation_split")
    config = {
        name: value
        for name, value in config.items()
        if name not in ("tag", "group", "dataset_kwargs")
    }
    task = ConfigurableTask(
        config={
            **config,
            "custom_dataset": lambda **_: {split: datasets.Dataset.from_list([row] * 3)},
        }
    )
    return task, asked(task, lm, chat)


def asked(task: ConfigurableTask, lm: CompressingLM, chat: bool) -> list:
    options = {
        "apply_chat_template": chat,
        "chat_template": lm.apply_chat_template if chat else None,
    }
    task.build_all_requests(limit=1, rank=0, world_size=1, tokenizer_name="", **options)
    return task.instances


def check(request, lm: CompressingLM, document: str, chat: bool) -> str:
    """Check what the pair reads of a request, and return its end.

    The document is read as soft tokens, the end as text.
    """
    context = request.args[0]
    start, end = lm.reader.spans(context, request.doc)[0]
    # All of the document but what stands in the tail.
    assert document.strip().startswith(context[start:end].strip()[:500])
    assert 500 < end - start <= len(document)
    assert len(context) - end < 3 * lm.reader.tail_chars
    n_answer = 0
    if request.request_type == "generate_until":
        n_answer = lm._sampling(request.args[1])[0].max_new_tokens
    prompt, ids = lm.reader.read(
        context, request.doc, n_answer, "" if n_answer else request.args[1]
    )
    assert prompt.soft_tokens is not None
    shown = lm.tokenizer.decode([id for id in prompt.ids if id != lm.pair.processor.placeholder_id])
    assert shown.endswith(context[end:] if n_answer else context[end:].rstrip())
    assert shown.removeprefix("<bos>").startswith(context[:start].removeprefix("<bos>"))
    assert len(prompt.ids) + max(n_answer, len(ids)) <= lm.pair.config.decoder_window
    return context[end:]


@pytest.mark.parametrize("chat", [False, True], ids=["plain", "chat"])
@pytest.mark.parametrize("group", ROWS)
def test_every_task_of_a_group_is_read_as_a_document_with_a_question(group, chat, models):
    if group == "ruler":
        pytest.importorskip("wonderwords")
    lm, row = models[chat], ROWS[group]
    document = row["input" if group in ("babilong", "ruler") else "context"]
    paths = files(group)
    assert len(paths) >= 10
    for path in paths:
        task, instances = requests(path, row, lm, chat)
        assert instances
        tails = [check(request, lm, document, chat) for request in instances]
        if not any(name in task.config.task for name in UNASKED):
            assert all(ASKED in tail for tail in tails), path.name
        if group == "ruler":
            assert all(tail.endswith(row["gen_prefix"]) for tail in tails), path.name
        if group == "longbench2":
            assert [request.args[1].strip() for request in instances] == ["A", "B", "C", "D"]


SCROLLS = {
    "scrolls_contractnli": (f"{ASKED}\n\n{DOCUMENT}", "Entailment"),
    "scrolls_govreport": (DOCUMENT, "A summary."),
    "scrolls_narrativeqa": (f"{ASKED}\n\n{DOCUMENT}", "The mayor"),
    "scrolls_qasper": (f"{ASKED}\n\n{DOCUMENT}", "yes"),
    "scrolls_qmsum": (f"{ASKED}\n\n{DOCUMENT}", "The mayor"),
    "scrolls_quality": (f"{ASKED}\n\n (A) Ann\n (B) Bo\n (C) Cleo\n (D) Dan\n\n{DOCUMENT}", "Bo"),
    "scrolls_summscreenfd": (DOCUMENT, "A summary."),
}


@pytest.mark.parametrize("chat", [False, True], ids=["plain", "chat"])
def test_every_task_of_scrolls_is_read_and_answered(chat, models, monkeypatch):
    pytest.importorskip("evaluate")
    assert [path.stem for path in files("scrolls")] == list(SCROLLS)
    lm = models[chat]
    for name, (text, answer) in SCROLLS.items():
        kind = load_yaml(TASKS / "scrolls" / f"{name}.yaml")["class"]
        module = sys.modules[kind.__module__]
        data = datasets.Dataset.from_list(
            [{"id": "1", "pid": "1_0", "input": text, "outputs": [answer]}]
        )
        monkeypatch.setattr(module, "_download_metric", lambda: "")
        monkeypatch.setattr(module, "load", lambda *_, **__: None)
        monkeypatch.setattr(
            module._SCROLLSTask,
            "download",
            lambda self, *_, data=data, **__: setattr(
                self, "dataset", {"train": data, "validation": data}
            ),
        )
        task = kind()
        instances = asked(task, lm, chat)
        kinds = {request.request_type for request in instances}
        for request in instances:
            tail = check(request, lm, DOCUMENT, chat)
            assert (ASKED in tail) == (text != DOCUMENT)
        if kinds == {"loglikelihood"}:
            results = lm.loglikelihood(instances, disable_tqdm=True)
            assert (
                len({total for total, _ in results})
                == len(instances)
                == {"contractnli": 3, "qasper": 2, "quality": 4}[name.partition("_")[2]]
            )
            assert all(total < 0 for total, _ in results)
        else:
            assert instances[0].args[1]["until"] == ["\n"]
            instances[0].arguments[1]["max_gen_toks"] = 6
            [written] = lm.generate_until(instances, disable_tqdm=True)
            assert "\n" not in written


@pytest.mark.parametrize("chat", [False, True], ids=["plain", "chat"])
@pytest.mark.parametrize(
    "task",
    ["longbench/hotpotqa", "infinitebench/infinitebench_passkey", "longbench2/academic_single"],
)
def test_what_a_task_asks_is_answered(task, chat, models):
    group, _, name = task.partition("/")
    lm = models[chat]
    _, instances = requests(TASKS / group / f"{name}.yaml", ROWS[group], lm, chat)
    if group == "longbench2":
        assert all(total < 0 for total, _ in lm.loglikelihood(instances, disable_tqdm=True))
        return
    (request,) = instances
    context, settings = request.args

    def written(until: list[str]) -> str:
        asked = SimpleNamespace(args=(context, {**settings, "until": until}), doc=request.doc)
        [text] = lm.generate_until([asked], disable_tqdm=True)
        return text

    whole = written([])
    stopped = written([whole[2:4]])
    assert stopped == whole[: whole.index(whole[2:4])]


@pytest.mark.parametrize("wanted", ["noise", "needles"])
def test_ruler_makes_texts_with_the_tokenizer_of_a_saved_pair(wanted, models):
    pytest.importorskip("wonderwords")
    load_yaml(TASKS / "ruler" / "niah_single_1.yaml")  # imports what the task is made of
    common, niah, utils = (
        sys.modules[f"lm_eval.tasks.ruler.{name}"]
        for name in ("common_utils", "prepare_niah", "niah_utils")
    )
    lm = models[False]
    tokenizer = common.get_tokenizer(common.resolve_tokenizer_name({"pretrained": lm.pair.name}))
    haystack = {"noise": "repeat", "needles": "needle"}[wanted]
    settings = {
        "type_haystack": haystack,
        "type_needle_k": "words",
        "type_needle_v": "numbers",
        "template": utils.TEMPLATE,
        "num_samples": 1,
    }
    [row] = niah.generate_samples(
        niah.get_haystack(haystack), TOKENIZER=tokenizer, max_seq_length=3_000, **settings
    )
    for chat in (False, True):
        _, instances = requests(TASKS / "ruler" / "niah_single_1.yaml", row, models[chat], chat)
        tail = check(instances[0], models[chat], row["input"], chat)
        assert "What is the special magic number for" in tail
        assert tail.endswith(row["gen_prefix"])


def test_the_system_message_of_a_conversation_is_no_document(models):
    lm = models[True]
    messages = [
        {"role": "system", "content": "Read the book."},
        {"role": "user", "content": f"{DOCUMENT}\n{ASKED}"},
    ]
    context = lm.apply_chat_template(messages)
    start, _ = lm.reader.spans(context, {})[0]
    assert context[:start] == "<|start|>system\nRead the book.<|end|>\n<|start|>user\n"
    assert lm.reader.spans(f"{DOCUMENT}\n{ASKED}", {})[0][0] == 0
