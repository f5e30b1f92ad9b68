"""Fit how a pair tells that a document does not say what is asked, and measure how well it does.

    E2LLM_DATA=... python bench/found.py [--model smol] [--questions 40] [--write CONFIG.json]

Each question is asked of its own document, of that document without the chunks that hold the
answer, and of another document. The weights are fitted on the train splits of four sets and
measured on other sets and on dev splits. `--write` puts them into a pair's config.json. It ends
with one line of JSON, which is kept in bench/results.
"""

import argparse
import gzip
import json
import os
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from read_and_ask import where

HERE = Path(__file__).parent

# Share of the fitted sets' answerable questions below the threshold: on other sets it is twice
# that.
FALSE_REFUSALS = 0.03
CURVE = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2)
JOINED_CHARS = 60_000
MOST_CHARS = 60_000
PER_DOCUMENT = 10
# Name, folder, split, and whether it is fitted on.
SETS = (
    ("squad train", "squad_v1_train_part", "train", True),
    ("fairytaleqa train", "fairytaleqa", "train", True),
    ("medquad train", "medquad", "train", True),
    ("factbook train", "factbook_qa", "train", True),
    ("squad dev", "squad_v2_dev", "dev", False),
    ("fairytaleqa dev", "fairytaleqa", "dev", False),
    ("medquad dev", "medquad", "dev", False),
    ("factbook dev", "factbook_qa", "dev", False),
    ("narrativeqa", "narrativeqa_summaries", "dev", False),
    ("hotpotqa", "hotpotqa_sample", "dev", False),
    ("policyqa", "policyqa", "dev", False),
    ("qasper", "qasper_subset", "dev", False),
)
# Their questions fit each document of the set ("Which baselines are used?"), so another document is
# one of another set, and no chunk alone holds the answer.
ALIKE = ("policyqa", "qasper")


@dataclass(frozen=True)
class Asked:
    """A question of a text, and the characters that answer it; none where they are not known."""

    question: str
    places: list[tuple[int, int]]


@dataclass(frozen=True)
class Case:
    """A question put to a document.

    Attributes:
        name: Of its set.
        fitted: Whether the weights are fitted on it.
        kind: "own" document, one that was "cut" out of, or an"other" one.
        evidence: What the pair sees: (n_features,).
    """

    name: str
    fitted: bool
    kind: str
    evidence: tuple[float, ...]


def lines(path: Path) -> list[dict]:
    """Read gzipped JSON Lines."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def find_answers(text: str, answers: list[str]) -> list[tuple[int, int]]:
    """Return every place where an answer stands as it is."""
    low, places = text.lower(), []
    for answer in (answer.strip().rstrip(".").lower() for answer in answers):
        if 0 < len(answer) <= 300:
            pattern = rf"(?<!\w){re.escape(answer)}(?!\w)"
            places += [match.span() for match in re.finditer(pattern, low)]
        elif answer and (start := low.find(answer[:60])) >= 0:
            places.append((start, start + len(answer)))
    return places


def find_gold(record: dict, text: str) -> list[tuple[int, int]]:
    """Return where the answer of a record stands in its text."""
    if "gold" not in record:
        return find_answers(text, record["answers"])
    places, start = [], 0
    for paragraph in text.split("\n\n"):
        if paragraph.partition("\n")[0].strip() in record["gold"]:
            places.append((start, start + len(paragraph)))
        start += len(paragraph) + 2
    return places


def load(folder: Path, split: str, rng: random.Random) -> list[tuple[str, list[Asked]]]:
    """Return the documents of a set with their questions, in random order.

    Texts of a few sentences are joined: SQuAD's paragraphs of all articles, PolicyQA's by site.
    """
    records = lines(folder / f"{split}.jsonl.gz")
    texts = {}
    if (folder / "docs.jsonl.gz").exists():
        texts = {line["id"]: line["text"] for line in lines(folder / "docs.jsonl.gz")}
    by_text: dict[str, list[dict]] = {}
    for record in records:
        answerable = record["answers"] and not record.get("unanswerable")
        # Of FairytaleQA's questions those that one place answers, in its own words.
        if answerable and record.get("explicit", True) and record.get("kind") != "summary":
            by_text.setdefault(record["context"] or texts[record["context_id"]], []).append(record)
    parts = list(by_text.items())
    rng.shuffle(parts)
    if folder.name == "policyqa":
        parts.sort(key=lambda part: part[1][0]["title"])
        groups = [list(own) for _, own in groupby(parts, lambda part: part[1][0]["title"])]
        rng.shuffle(groups)
    elif folder.name.startswith("squad"):
        groups, size = [[]], 0
        for part in parts:
            if size > JOINED_CHARS:
                groups.append([])
                size = 0
            groups[-1].append(part)
            size += len(part[0])
    else:
        groups = [[part] for part in parts if 2_000 < len(part[0]) < MOST_CHARS]
    documents = []
    for group in groups:
        text, asked = "", []
        for part, own in group:
            for record in own:
                places = [
                    (start + len(text), end + len(text)) for start, end in find_gold(record, part)
                ]
                asked.append(Asked(record["question"].strip(), places))
            text += part + "\n\n"
        documents.append((text, rng.sample(asked, min(len(asked), PER_DOCUMENT))))
    return documents


def without(document, chunks: list[int]):
    """Return a document, one soft token a chunk, without some of its chunks."""
    kept = np.setdiff1d(np.arange(document.n_chunks), chunks)
    texts = [document.text[start:end] for start, end in document.spans[kept].tolist()]
    ends = np.cumsum([len(text) for text in texts])
    rows = torch.from_numpy(kept)
    return replace(
        document,
        text="".join(texts),
        spans=np.stack([np.concatenate([[0], ends[:-1]]), ends], 1),
        soft_tokens=document.soft_tokens[rows],
        embeddings=document.embeddings[rows],
        n_soft_per_chunk=document.n_soft_per_chunk[kept],
        n_tokens_per_chunk=document.n_tokens_per_chunk[kept],
    )


def cut(document, places: list[tuple[int, int]]):
    """Return a document without the chunks that answer; None where little would be left."""
    spans = document.spans
    gold = {
        int(index)
        for start, end in places
        for index in np.flatnonzero((spans[:, 0] < end) & (spans[:, 1] > start))
    }
    few = len(gold) <= max(2, 0.3 * document.n_chunks) and document.n_chunks - len(gold) >= 2
    return without(document, sorted(gold)) if gold and few else None


def cases(pair, folder: Path, n_questions: int) -> Iterator[Case]:
    """Put the questions of every set to their three documents."""
    from e2llm.reading.found import Finder

    finder = Finder(pair.compressor)
    stranger = None
    for name, own_folder, split, fitted in SETS:
        loaded = load(folder / own_folder, split, random.Random(0))
        taken, n_taken = [], 0
        while loaded and (n_taken < n_questions or len(taken) < 2):
            text, asked = loaded.pop()
            taken.append((pair.compress(text, "document", "chunk"), asked))
            n_taken += len(asked)
        for place, (document, asked) in enumerate(taken):
            other = stranger if name in ALIKE else taken[place - 1][0]
            for own in asked[: -(-n_questions // len(taken))]:
                put = {"own": document, "other": other}
                if name not in ALIKE:
                    put["cut"] = cut(document, own.places)
                for kind, read in put.items():
                    if read is not None:
                        ranked = pair.rank(own.question, [read])
                        evidence = finder.evidence(own.question, [read], ranked)
                        yield Case(name, fitted, kind, tuple(evidence))
        stranger = taken[0][0] if name not in ALIKE else stranger
        print(f"{name}: {len(taken)} documents", flush=True)


def fit(found: list[Case]) -> tuple[np.ndarray, float]:
    """Fit a logistic regression; each set weighs the same, and so do yes and no.

    Returns:
        Weights (n_features,), and the bias at which `FALSE_REFUSALS` of the answerable are refused.
    """
    features = torch.tensor([case.evidence for case in found], dtype=torch.float64)
    truth = torch.tensor([case.kind == "own" for case in found], dtype=torch.float64)
    groups = [(case.name, case.kind == "own") for case in found]
    weight = torch.tensor([1 / groups.count(group) for group in groups], dtype=torch.float64)
    mean, spread = features.mean(0), features.std(0)
    scaled = (features - mean) / spread  # (n_cases, n_features)
    slope = torch.zeros(features.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([slope, bias], max_iter=200)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logits = scaled @ slope + bias  # (n_cases,)
        each = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        total = (each * weight).sum() / weight.sum() + 1e-4 * slope.square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    weights = (slope.detach() / spread).numpy()
    scores = features.numpy() @ weights
    own = np.flatnonzero(truth.numpy())
    order = own[np.argsort(scores[own])]
    share = np.cumsum(weight.numpy()[order]) / weight.numpy()[own].sum()
    return weights, -float(scores[order[np.searchsorted(share, FALSE_REFUSALS)]])


def refused(found: list[Case], scores: np.ndarray, threshold: float) -> dict[str, float]:
    """Return the share of each kind that is refused, in percent.

    "unanswerable" are both kinds that ought to be.
    """
    kinds = {
        "own": ("own",),
        "cut": ("cut",),
        "other": ("other",),
        "unanswerable": ("cut", "other"),
    }
    shares = {}
    for name, wanted in kinds.items():
        own = [
            score < threshold
            for case, score in zip(found, scores, strict=True)
            if case.kind in wanted
        ]
        if own:
            shares[name] = round(100 * float(np.mean(own)), 1)
    return shares


def main() -> None:
    """Fit, measure, print a table and one line of JSON, and keep it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smol")
    parser.add_argument("--questions", type=int, default=40, help="of each set")
    parser.add_argument("--write", type=Path, help="a pair's config.json, to put the weights into")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    given = parser.parse_args()
    from e2llm import E2LLM
    from e2llm.reading.found import Evidence, digest_encoder

    pair = E2LLM.from_pretrained(given.model)
    put = list(cases(pair, Path(os.environ["E2LLM_DATA"]), given.questions))
    weights, bias = fit([case for case in put if case.fitted])
    found = dict(zip(Evidence._fields, np.round(weights, 3).tolist(), strict=True))
    found |= {"bias": round(bias, 3), "encoder": digest_encoder(pair.compressor)}
    kept = [case for case in put if not case.fitted]
    scores = np.array([case.evidence for case in kept]) @ weights + bias
    rows = {}
    for name in dict.fromkeys(case.name for case in kept):
        own = [place for place, case in enumerate(kept) if case.name == name]
        rows[name] = refused([kept[place] for place in own], scores[own], 0.0)
        print(f"{name:<18} {rows[name]}")
    answerable = np.array([case.kind == "own" for case in kept])
    curve = [
        refused(kept, scores, float(np.quantile(scores[answerable], share))) for share in CURVE
    ]
    result = {
        "benchmark": "found",
        "model": Path(given.model).name,
        **where(),
        "found": found,
        "cases": len(kept),
        "refused_percent": refused(kept, scores, 0.0),
        "sets": rows,
        "curve": curve,
    }
    for row in (result["refused_percent"], *curve):
        print(row)
    if given.write:
        config = json.loads(given.write.read_text(encoding="utf-8"))
        text = json.dumps({**config, "found": found}, indent=2, sort_keys=True)
        given.write.write_text(text + "\n", encoding="utf-8")
    given.output.mkdir(parents=True, exist_ok=True)
    name = f"found-{result['date'].replace(':', '')}.json"
    with open(given.output / name, "x", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
