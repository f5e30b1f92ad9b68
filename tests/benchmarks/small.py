"""Small data of every data set's form, that the benchmarks read as they would read the real one."""

import json
from pathlib import Path

from e2llm.benchmarks.data import Data
from tests.tiny import TEXT

NAMES = ("qmsum", "govreport", "quality", "narrativeqa", "triviaqa", "hotpotqa", "squad")
N_DOCUMENTS = {name: 20 if name == "squad" else 3 for name in NAMES}
QUESTIONS = (
    ("Who approved the budget?", ["The mayor", "mayor"]),
    ("When was the bridge built?", ["1887"]),
)


def make_data(folder: Path, names: tuple[str, ...] = NAMES) -> Data:
    """Write a folder for each name, with two questions on each document."""
    for name in names:
        (folder / name).mkdir(parents=True)
        with (
            open(folder / name / "docs.jsonl", "w") as documents,
            open(folder / name / "dev.jsonl", "w") as records,
        ):
            for number in range(N_DOCUMENTS[name]):
                answered = name != "squad" or number == 0
                said = TEXT if answered else "The school closes early. " * 4
                text = f"Meeting {number}. {said}"
                print(json.dumps({"id": str(number), "text": text, "source": name}), file=documents)
                for place, (question, answers) in enumerate(QUESTIONS):
                    record = {
                        "id": f"{number}-{place}",
                        "context": None,
                        "context_id": str(number),
                        "question": question,
                        "answers": answers,
                    }
                    print(json.dumps(record | {"source": name}), file=records)
    return Data(folder)
