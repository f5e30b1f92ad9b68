"""`e2llm train`: a recipe becomes a pair, or a message of one line."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import e2llm
from tests.cli.running import run, start
from tests.training import writing

ALONE = {
    **os.environ,
    "PYTHONPATH": str(Path(e2llm.__file__).parents[1]),
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture
def make_recipe(world, tmp_path):
    """Write a recipe over the tiny bases; return the file's path."""

    def make(*stages, **changes):
        data = writing.write_data(tmp_path / "data")
        for part, family in (("encoder", "bert"), ("decoder", "llama")):
            if not (world / f"{part}-{family}").exists():
                shutil.copytree(world / part, world / f"{part}-{family}")
        fields = writing.recipe(world, data, tmp_path / "run", *stages, **changes)
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(fields))
        return tmp_path / "recipe.yaml"

    return make


def test_a_recipe_becomes_a_pair_that_is_asked(make_recipe, tmp_path, town):
    result = run("train", make_recipe(writing.stage(steps=2)), "-o", tmp_path / "elsewhere")
    lines = result.said.splitlines()
    assert result.stdout == ""
    assert lines[0].startswith("Training ")
    trained = f"{tmp_path}/elsewhere/pair"
    assert lines[-1] == f'Trained: {trained}. Ask it: e2llm ask FILE -m {trained} -q "..."'
    assert not (tmp_path / "run").exists()
    assert (tmp_path / "elsewhere" / "curves.png").exists()
    asked = run(
        "ask", town, "-m", trained, "-q", "Who?", "--max-new-tokens", 2, "--expand", 0, "--json"
    )
    assert asked.json["usage"]["n_soft"] > 0


def test_a_process_of_its_own_says_its_own_lines_and_nothing_of_the_libraries(
    make_recipe, tmp_path
):
    recipe = make_recipe(writing.stage(steps=2, evaluate_every=1), gradient_checkpointing=True)
    argv = [sys.executable, "-m", "e2llm", "train", str(recipe)]
    result = subprocess.run(
        argv, env=ALONE, cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result
    assert result.stdout == ""
    for line in result.stderr.splitlines():
        assert line.startswith(("Training ", "read ", "Curves: ", "Trained: ")), result.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stagse": []}, "did you mean 'stages'?"),
        ({"seed": "many"}, "`recipe.seed` (='many') must be a whole number."),
        ({"sources": [{"path": "none.jsonl"}]}, "`path` (='none.jsonl') does not exist"),
        ({"pair": {"model": "nowhere"}}, "nowhere"),
        ({"trainer": {"no_such_field": 1}}, "`trainer`: "),
    ],
)
def test_a_bad_recipe_is_a_mistake_of_one_line(make_recipe, change, message):
    result = run("train", make_recipe(**change))
    assert result.code == 2, result
    assert message in result.stderr
    assert result.stderr.splitlines()[-1].startswith("e2llm: ")
    assert "Traceback" not in result.stderr


def test_a_recipe_that_is_missing_is_a_mistake(tmp_path):
    assert "cannot be read" in run("train", tmp_path / "none.yaml").mistake


def test_a_folder_that_holds_a_run_is_refused_and_resuming_what_is_not_there_begins(make_recipe):
    recipe = make_recipe(writing.stage(steps=1))
    assert "Trained: " in run("train", recipe, "--resume").said
    assert "holds a run already; add --resume" in run("train", recipe).mistake


def test_an_interrupt_writes_a_checkpoint_and_resume_finishes(make_recipe, tmp_path):
    recipe = make_recipe(writing.stage(steps=400, evaluate_every=400))
    running = start(tmp_path / "first", "train", recipe)
    running.wait_until("stderr", "read 2/400", 200)
    result = running.kill(signal.SIGINT)
    assert result.code == 130
    assert result.stderr.splitlines()[-1].startswith("e2llm: interrupted")
    assert "Traceback" not in result.stderr
    (checkpoint,) = (tmp_path / "run" / "1-read").glob("checkpoint-*/complete")
    step = int(checkpoint.parent.name.split("-")[-1])
    assert 2 <= step < 400
    again = start(tmp_path / "second", "train", recipe, "--resume")
    again.wait_until("stderr", f"read {step + 1}/400", 200)
    assert "read 1/400" not in again.kill(signal.SIGTERM).stderr


def test_a_full_disk_is_a_failure_of_one_line_and_the_checkpoint_before_stays(
    make_recipe, tmp_path
):
    from tests.cli.running import limit_files

    recipe = make_recipe(writing.stage(steps=6, evaluate_every=2))
    result = start(
        tmp_path / "first", "train", recipe, prepare=limit_files, arguments=(20_000,)
    ).result(300)
    assert result.code == 1
    message = result.stderr.splitlines()[-1]
    assert message.startswith("e2llm: `")
    assert "checkpoint-2` cannot be written (" in message
    assert message.endswith("what was whole before still is.")
    assert "Traceback" not in result.stderr
    assert "Trained: " in run("train", recipe, "--resume").said
