"""Small training data and recipes, written by the tests themselves."""

import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

WORDS = [
    "council",
    "noon",
    "old",
    "hall",
    "budget",
    "mayor",
    "debate",
    "river",
    "town",
    "bridge",
    "north",
    "repair",
    "engineer",
    "work",
    "years",
]
NAMES = ["Ann", "Bo", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hal"]


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> Path:
    """Write JSON Lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def prose(seed: int, n_sentences: int) -> str:
    """Sentences of random words."""
    rng = random.Random(seed)
    return " ".join(
        f"The {' '.join(rng.choices(WORDS, k=rng.randint(3, 8)))} of {rng.randint(1, 99)}."
        for _ in range(n_sentences)
    )


def texts(n: int = 40, defined: bool = True) -> list[dict[str, Any]]:
    """Texts of 2 to 13 sentences, so of one to some six chunks of 120 characters.

    The last one of each says what something is, unless told otherwise.
    """
    bodies = [
        f"{prose(i, 1 + i % 12)} The {WORDS[i % 15]} is a work of the old town."
        if defined
        else prose(i, 2 + i % 12)
        for i in range(n)
    ]
    return [{"id": f"t{i}", "text": text, "source": "town"} for i, text in enumerate(bodies)]


def questions(n: int = 40) -> list[dict[str, Any]]:
    """Questions whose answer stands in the context."""
    records = []
    for i in range(n):
        name, word = NAMES[i % len(NAMES)], WORDS[i % len(WORDS)]
        context = (
            f"{prose(100 + i, i % 7)} {name} keeps the {word}. {prose(200 + i, i % 5)}".strip()
        )
        records.append(
            {
                "id": f"q{i}",
                "context": context,
                "question": f"Who keeps the {word}?",
                "answers": [name],
                "source": "hall",
            }
        )
    return records


def write_data(folder: Path, defined: bool = True) -> Path:
    """A folder with texts.jsonl and questions.jsonl."""
    write_lines(folder / "texts.jsonl", texts(defined=defined))
    write_lines(folder / "questions.jsonl", questions())
    return folder


# Small enough for the tiny decoders' window.
SHORT = {"max_answer_tokens": 24, "max_positions": 160}


def stage(name: str = "read", **changes: Any) -> dict[str, Any]:
    """One short stage, as YAML holds it."""
    fields = {
        "name": name,
        "steps": 6,
        "learning_rates": {"adapter": 5e-3, "encoder": 2e-3, "decoder": 5e-3},
        "tasks": {"understanding": {}, "reasoning": {}},
        "ratios": [2, 4],
        "chunks": [1, 3],
        "batch_size": 2,
        "evaluate_every": 3,
        **SHORT,
    }
    return fields | changes


def recipe(
    bases: Path,
    data: Path,
    output: Path,
    *stages: dict[str, Any],
    family: str = "llama",
    **changes: Any,
) -> dict[str, Any]:
    """A recipe of tiny models in float32, as YAML holds it."""
    fields = {
        "output": str(output),
        "pair": {
            "encoder": str(bases / "encoder-bert"),
            "decoder": str(bases / f"decoder-{family}"),
            "chunk_chars": 120,
            "ratio": 4,
        },
        "sources": [{"path": str(data / "texts.jsonl")}, {"path": str(data / "questions.jsonl")}],
        "validation_fraction": 0.2,
        "validation_samples": 2,
        "encoder": {"rank": 2},
        "decoder": {"rank": 2},
        "log_every": 1,
        "dtype": "float32",
        "save_dtype": "float32",
        "stages": list(stages or [stage()]),
    }
    return fields | changes
