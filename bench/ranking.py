"""How often the chunk that answers is among the first: by embedding, by words, by both.

    E2LLM_DATA=... python bench/ranking.py [--model smol]

Four made documents hold what an encoder cannot tell apart (invoices, error codes, people, a manual
of alike sections). Where `E2LLM_DATA` is set, SQuAD gives documents of 100,000 characters,
and NarrativeQA (summaries) and FairytaleQA questions in other words than the text's; of these the
ones whose answer stands there once, word for word. Each rule of the ranking is also left out. It
ends with one line of JSON, which is kept in bench/results.
"""

import argparse
import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from plan import load
from read_and_ask import where

from e2llm.reading import ranking
from e2llm.reading.prompt import join_spans

HERE = Path(__file__).parent

N_QUESTIONS = 40
# A question, and where its answer stands in the text.
Question = tuple[str, tuple[int, int]]


def invoices(rng: random.Random) -> tuple[str, list[Question]]:
    """A CSV of 3,000 invoices; the row of one is asked for."""
    rows = [
        f"INV-{number:05d},{rng.choice(('Acme', 'Borealis', 'Cygnet', 'Dunmore'))} Ltd,"
        f"2025-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d},{rng.randint(1000, 999999) / 100}"
        for number in range(1, 3001)
    ]
    asked = rng.sample(rows, N_QUESTIONS)
    text = "invoice,customer,date,amount\n" + "\n".join(rows)
    wordings = [f"What is the amount of invoice {row.partition(',')[0]}?" for row in asked]
    return text, placed(text, wordings, asked)


def codes(rng: random.Random) -> tuple[str, list[Question]]:
    """A list of 900 error codes; what one means is asked."""
    parts = ("pump", "valve", "sensor", "relay", "fan", "motor")
    faults = ("does not start", "is too hot", "is blocked", "lost its calibration")
    numbers = rng.sample(range(1000, 10_000), 900)
    rows = [f"Error E{n}: the {rng.choice(parts)} {rng.choice(faults)}." for n in numbers]
    asked = rng.sample(rows, N_QUESTIONS)
    text = "\n".join(rows)
    wordings = [f"What does error {row.split()[1].rstrip(':')} mean?" for row in asked]
    return text, placed(text, wordings, asked)


def people(rng: random.Random) -> tuple[str, list[Question]]:
    """Four hundred people in alike sentences; the phone of one is asked for."""
    first = (
        "Greta",
        "Hans",
        "Ida",
        "Jonas",
        "Karin",
        "Lars",
        "Maja",
        "Nils",
        "Olga",
        "Per",
        "Rosa",
        "Sven",
        "Tilda",
        "Ulf",
        "Vera",
    )
    last = (
        "Lund",
        "Berg",
        "Dahl",
        "Ek",
        "Fors",
        "Gren",
        "Holm",
        "Jarl",
        "Kvist",
        "Lind",
        "Moe",
        "Noren",
        "Ohl",
        "Palm",
        "Rask",
        "Sund",
    )
    names = [f"{one} {other}" for one in first for other in last]
    names += [f"{name}-Uggla" for name in names][: 400 - len(names)]
    rng.shuffle(names)
    rows = [
        f"{name} works in the {rng.choice(('north', 'south', 'east', 'west'))} wing and has the "
        f"office phone {rng.randint(1000, 9999)}."
        for name in names
    ]
    places = rng.sample(range(len(names)), N_QUESTIONS)
    text = " ".join(rows)
    wordings = [f"What is the office phone of {names[place]}?" for place in places]
    return text, placed(text, wordings, [rows[place] for place in places])


def manual(rng: random.Random) -> tuple[str, list[Question]]:
    """Forty alike sections, the fact at the end of each."""
    filler = (
        "Check that the housing is dry before you open it.",
        "Use only the tools that came with the unit.",
        "The display shows the state of the unit at all times.",
        "Keep the packaging for later transport.",
        "Do not cover the air inlets.",
    )
    makes = ("Falcon", "Otter", "Badger", "Heron", "Lynx", "Marten", "Osprey", "Raven")
    models = [
        f"{make} {size}" for make in makes for size in ("Mini", "Basic", "Plus", "Pro", "Max")
    ]
    text, wordings, facts = "", [], []
    for model in models:
        body = " ".join(rng.choice(filler) for _ in range(22))
        start = len(text)
        text += f"## Model {model}\n\n{body} The fuse is rated at {rng.randint(10, 999)} mA.\n\n"
        wordings.append(f"At how many milliamperes is the fuse of the {model} rated?")
        facts.append(text[text.index("The fuse", start) : -2])
    ends = [text.index(f"## Model {model}") for model in models]
    return text, [
        (wording, (place := text.index(fact, end), place + len(fact)))
        for wording, fact, end in zip(wordings, facts, ends, strict=True)
    ]


def placed(text: str, wordings: list[str], facts: list[str]) -> list[Question]:
    """Set beside each question where its fact stands."""
    starts = [text.index(fact) for fact in facts]
    spans = [(start, start + len(fact)) for start, fact in zip(starts, facts, strict=True)]
    return list(zip(wordings, spans, strict=True))


def squad(rng: random.Random, folder: Path) -> list[tuple[str, list[Question]]]:
    """Six documents of 100,000 characters of SQuAD's paragraphs, fifty questions to each."""
    return joined(rng, load(folder, "squad_v2_dev"), 6, 50, once=False)


def narrativeqa(rng: random.Random, folder: Path) -> list[tuple[str, list[Question]]]:
    """Four documents of 100,000 characters of NarrativeQA's summaries, fifty questions to each."""
    return joined(rng, load(folder, "narrativeqa_summaries"), 4, 50)


def fairytaleqa(rng: random.Random, folder: Path) -> list[tuple[str, list[Question]]]:
    """Two documents of 100,000 characters of fairy tales, a hundred questions to each."""
    return joined(rng, load(folder, "fairytaleqa"), 2, 100)


def joined(
    rng: random.Random, records: list[dict], n_documents: int, n_questions: int, once: bool = True
) -> list[tuple[str, list[Question]]]:
    """Join contexts to documents of 100,000 characters, and draw questions about each."""
    paragraphs = list(dict.fromkeys(record["context"] for record in records))
    rng.shuffle(paragraphs)
    documents = []
    for _ in range(n_documents):
        text, starts = "", {}
        while len(text) < 100_000 and paragraphs:
            starts[paragraphs[-1]] = len(text)
            text += paragraphs.pop() + "\n\n"
        own = [
            (record["question"], record["context"], record["answers"][0])
            for record in records
            if record["context"] in starts
            and (not once or record["context"].count(record["answers"][0]) == 1)
        ]
        questions = []
        for question, context, answer in rng.sample(own, min(n_questions, len(own))):
            if (place := context.find(answer)) >= 0:
                start = starts[context] + place
                questions.append((question, (start, start + len(answer))))
        documents.append((text, questions))
    return documents


def recall(pair, documents, order: Callable, n: int) -> tuple[int, int]:
    """Count the questions whose answer stands in the first `n` chunks; neighbours are one."""
    found = total = 0
    for document, questions in documents:
        for question, (start, end) in questions:
            chosen = order(pair, question, document)[:n]
            passages = join_spans(document.spans, chosen)
            found += any(low <= start and end <= high for low, high in passages)
            total += 1
    return found, total


def by_embedding(pair, question, document) -> list[int]:
    """Order chunks by the encoder's embedding."""
    from e2llm.reading.ranking import rank_by_embedding

    return [chunk.chunk for chunk in rank_by_embedding(pair.compressor, question, [document])]


def by_words(pair, question, document) -> list[int]:
    """Order chunks by BM25."""
    from e2llm.reading.lexical import score_words

    return np.argsort(-score_words(question, [document])[0], kind="stable").tolist()


def by_both(pair, question, document) -> list[int]:
    """Order chunks as `E2LLM.ask` does."""
    return [chunk.chunk for chunk in pair.rank(question, [document])]


def without_neighbours(pair, question, document) -> list[int]:
    """Order chunks as `E2LLM.ask` does, but for what their neighbours say."""
    ranking.NEIGHBOUR_WEIGHT, weight = 0.0, ranking.NEIGHBOUR_WEIGHT
    try:
        return by_both(pair, question, document)
    finally:
        ranking.NEIGHBOUR_WEIGHT = weight


def without_names(pair, question, document) -> list[int]:
    """Order chunks as `E2LLM.ask` does, but for names and ids that one chunk holds."""
    ranking.find_names, find_names = (lambda question, documents: []), ranking.find_names
    try:
        return by_both(pair, question, document)
    finally:
        ranking.find_names = find_names


ORDERS = (by_embedding, by_words, by_both, without_neighbours, without_names)


def main() -> None:
    """Measure, print a table and one line of JSON, and keep it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smol")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    given = parser.parse_args()
    from e2llm import E2LLM

    pair = E2LLM.from_pretrained(given.model)
    sets = {make.__name__: [make(random.Random(0))] for make in (invoices, codes, people, manual)}
    if folder := os.environ.get("E2LLM_DATA"):
        for draw in (squad, narrativeqa, fairytaleqa):
            sets[draw.__name__] = draw(random.Random(0), Path(folder))
    rows = []
    for name, made in sets.items():
        documents = [(pair.compress(text, name, "chunk"), asked) for text, asked in made]
        n_chars = sum(len(document.text) for document, _ in documents)
        row = {
            "set": name,
            "chunks": sum(document.n_chunks for document, _ in documents),
            "index_bytes_per_million_chars": round(
                sum(document.words.n_bytes for document, _ in documents) * 1e6 / n_chars
            ),
        }
        for order in ORDERS:
            for n in (4, 8):
                found, total = recall(pair, documents, order, n)
                row[f"{order.__name__} at {n}"] = f"{found} of {total}"
        rows.append(row)
        print(row, flush=True)
    result = {"benchmark": "ranking", "model": Path(given.model).name, **where(), "sets": rows}
    given.output.mkdir(parents=True, exist_ok=True)
    name = f"ranking-{result['date'].replace(':', '')}.json"
    with open(given.output / name, "x", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
