"""Forms of a document at equal decoder positions: text by rank, mixtures, one ratio, FlexRAG.

    E2LLM_DATA=... python bench/plan.py [--model smol] [--budgets 600,2000] [--questions 40]

Questions of the shared sets (hotpotqa_sample, squad_v2_dev joined to documents of sixteen
paragraphs, narrativeqa_summaries, qmsum), the same for every form; token F1, for qmsum the mean of
ROUGE scores, with 95 % bootstrap intervals. It ends with one line of JSON, which is kept in
bench/results.
"""

import argparse
import gzip
import json
import os
import random
import time
from pathlib import Path

import numpy as np
from read_and_ask import where

HERE = Path(__file__).parent
FORMS = {
    "text": "top-text",
    "text and soft": "planned:text=0.5:fine=0.3:fine_ratio=2",
    "soft": "planned:text=0:fine=0.5:fine_ratio=2",
    "one ratio": "uniform",
    "FlexRAG": "flexrag",
}
SETS = ("hotpotqa_sample", "squad_v2_dev", "narrativeqa_summaries", "qmsum")


def load(folder: Path, name: str) -> list[dict]:
    """Return the records of a set's dev split, each with its context."""
    documents = {}
    if (folder / name / "docs.jsonl.gz").exists():
        with gzip.open(folder / name / "docs.jsonl.gz", "rt", encoding="utf-8") as lines:
            documents = {row["id"]: row["text"] for row in map(json.loads, lines)}
    with gzip.open(folder / name / "dev.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if row["answers"]]
    return [{**row, "context": row["context"] or documents[row["context_id"]]} for row in rows]


def choose(folder: Path, name: str, n_questions: int, seed: int) -> list[dict]:
    """Draw questions; a paragraph of SQuAD stands among fifteen others."""
    rng = random.Random(seed)
    rows = load(folder, name)
    chosen = rng.sample(rows, min(n_questions, len(rows)))
    if name == "squad_v2_dev":
        contexts = sorted({row["context"] for row in rows})
        for row in chosen:
            own = [row["context"], *rng.sample(contexts, 15)]
            rng.shuffle(own)
            row["context"] = "\n\n".join(own)
    return chosen


def grade(name: str, text: str, answers: list[str]) -> float:
    """Return the score of an answer, 0 to 100."""
    from e2llm.evaluation.metrics import rouge, token_f1

    if name != "qmsum":
        return token_f1(text, answers)
    scores = rouge(text, answers)
    return sum(scores.values()) / len(scores)


def measure(pair, name: str, rows: list[dict], budget: int, form: str) -> dict:
    """Answer every question in one form."""
    from e2llm.methods import make_method

    method = make_method(f"{FORMS[form]}:budget={budget}", pair)
    kept: dict[str, object] = {}
    scores, positions, start = [], [], time.perf_counter()
    for row in rows:
        if row["context"] not in kept:
            kept = {row["context"]: method.read(row["context"])}
        n_new = 128 if name == "qmsum" else 32
        result = method.answer(kept[row["context"]], row["question"], n_new)
        scores.append(grade(name, result.text, row["answers"]))
        positions.append(result.positions)
    draws = np.random.default_rng(0).choice(scores, (2000, len(scores))).mean(1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return {
        "set": name,
        "budget": budget,
        "form": form,
        "score": round(float(np.mean(scores)), 1),
        "interval": [round(float(low), 1), round(float(high), 1)],
        "positions": round(float(np.mean(positions))),
        "n": len(scores),
        "seconds": round(time.perf_counter() - start, 1),
        "scores": [round(score, 1) for score in scores],
    }


def main() -> None:
    """Measure, print a line for each, and keep them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smol")
    parser.add_argument("--budgets", default="600,2000")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--forms", default=",".join(FORMS))
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=HERE / "results")
    given = parser.parse_args()
    from e2llm import E2LLM

    pair, folder = E2LLM.from_pretrained(given.model), Path(os.environ["E2LLM_DATA"])
    rows = []
    for name in given.sets.split(","):
        questions = sorted(
            choose(folder, name, given.questions, given.seed), key=lambda row: row["context"]
        )
        for budget in map(int, given.budgets.split(",")):
            for form in given.forms.split(","):
                rows.append(measure(pair, name, questions, budget, form))
                print(json.dumps({**rows[-1], "scores": None}), flush=True)
    result = {"benchmark": "plan", "model": Path(given.model).name, **where(), "rows": rows}
    given.output.mkdir(parents=True, exist_ok=True)
    kept = given.output / f"plan-{result['date'].replace(':', '')}.json"
    with open(kept, "x", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
    print(json.dumps({**result, "rows": len(rows)}))


if __name__ == "__main__":
    main()
