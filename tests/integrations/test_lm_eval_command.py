"""lm-evaluation-harness: how the model is called, from Python and by the command line."""

import functools
import json
import sys
from pathlib import Path

import pytest

from e2llm.errors import MissingPackageError, UserError
from tests.integrations.requests import request
from tests.tiny import TEXT

lm_eval = pytest.importorskip("lm_eval")

from lm_eval.tasks import TaskManager  # noqa: E402

from e2llm.integrations.lm_eval.__main__ import main  # noqa: E402


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
    # Reading the harness's 14,000 tasks takes it a while.
    own = functools.partial(TaskManager, include_defaults=False)
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
