"""Measure what a trained pair is worth, beside the floor (no document), rivals at equal budget, and
the ceiling (the same decoder reading the text).

    E2LLM_DATA=... python bench/trained_pair.py [--model smol] [--only restating,answers,...]
    [--samples 24] [--seed 0] [--output FOLDER]

Documents are from held-out files (`dev`), questions and places are drawn by the seed, decoding is
greedy. Every score comes with its 95 % bootstrap interval. It ends with one line of JSON, and
writes the same to a new file in `--output`.
"""

import argparse
import json
import math
import os
import random
import sys
import time
from pathlib import Path

from read_and_ask import where

from e2llm import E2LLM
from e2llm.benchmarks.base import Sample
from e2llm.benchmarks.data import Data
from e2llm.benchmarks.needle import hide
from e2llm.chunking.chunker import make_spans
from e2llm.errors import E2LLMError
from e2llm.evaluation.metrics import measure, retention, summarise
from e2llm.methods import make_method
from e2llm.reading.ranking import NEIGHBOUR_WEIGHT
from e2llm.training.data.records import QuestionRecord
from e2llm.training.tasks.understanding import wordings

TEXTS = ("text_books", "text_wiki", "text_openstax", "text_tech", "text_speeches")


def interval(name: str, scores: list[dict[str, float]], n_digits: int = 2) -> list[float]:
    """Return a mean with the ends of its 95 % interval."""
    return [round(value, n_digits) for value in summarise(name, scores)]


def say(*words: object) -> None:
    """Tell how far it is."""
    print(*words, file=sys.stderr, flush=True)


class Goals:
    """The measurements, one per method."""

    def __init__(self, pair: E2LLM, data: Data, n_samples: int, seed: int) -> None:
        self.pair, self.data, self.n_samples, self.seed = pair, data, n_samples, seed

    def questions(self, folder: str, n_chars: int = 2**62) -> list[Sample]:
        """Draw questions, each about a document of its own."""
        by_document = {}
        for record in self.data.records([folder]):
            if len(record.context) <= n_chars:
                by_document.setdefault(record.context, record)
        records = random.Random(self.seed).sample(
            list(by_document.values()), min(self.n_samples, len(by_document))
        )
        return [
            Sample(record.id, record.context, record.question, record.answers) for record in records
        ]

    def answered(
        self, spec: str, samples: list[Sample], metric: str, max_new_tokens: int
    ) -> list[dict[str, float]]:
        """Answer every sample with a method; one that cannot be read counts as not answered, and is
        said.
        """
        method, scores = make_method(spec, self.pair), []
        reading, document = None, None
        for sample in samples:
            try:
                if sample.document != document:
                    reading, document = method.read(sample.document), sample.document
                text = method.answer(reading, sample.question, max_new_tokens).text
            except E2LLMError as error:
                say(f"  {spec}: {error}")
                continue
            scores.append(measure([metric], text, sample.answers))
        return scores

    def compare(
        self,
        samples: list[Sample],
        specs: dict[str, str],
        metric: str,
        name: str,
        max_new_tokens: int,
    ) -> dict[str, object]:
        """Score methods on the same samples."""
        result: dict[str, object] = {"n": len(samples)}
        for label, spec in specs.items():
            begun = time.perf_counter()
            scores = self.answered(spec, samples, metric, max_new_tokens)
            result[label] = [*interval(name, scores), len(scores)] if scores else None
            say(f"  {label}: {result[label]} ({time.perf_counter() - begun:.0f} s)")
        means = {label: values[0] for label, values in result.items() if isinstance(values, list)}
        if {"floor", "ceiling"} <= means.keys():
            kept = {
                label: retention(value, means["floor"], means["ceiling"])
                for label, value in means.items()
                if label.startswith("e2llm")
            }
            result["retention"] = {
                label: None if value is None else round(100 * value, 1)
                for label, value in kept.items()
            }
        return result

    def restating(self) -> dict[str, object]:
        """Nats per token of restating one chunk, at 4, 16 and 64 text tokens per soft token."""
        rng, chunks = random.Random(self.seed), []
        for folder in TEXTS:
            texts = [record.text for record in self.data.records([folder])]
            for _ in range(max(1, self.n_samples // len(TEXTS))):
                text = rng.choice(texts)
                spans = make_spans(text, self.pair.chunker)
                start, end = rng.choice(
                    [span for span in spans if span[1] - span[0] > 300] or spans
                )
                chunks.append(text[start:end].strip())
        result: dict[str, object] = {"n": len(chunks)}
        ratios = {
            f"e2llm at {ratio}": f"e2llm:ratio={ratio}:expand=0" for ratio in (1, 2, 4, 8, 16, 64)
        }
        for label, spec in {"floor": "no-document", **ratios, "ceiling": "full-text"}.items():
            method, nats = make_method(spec, self.pair), []
            for chunk in chunks:
                nats.append(
                    {"nats": float(method.score(method.read(chunk), wordings()[0], chunk).mean())}
                )
            result[label] = interval("nats", nats, 3)
            say(f"  {label}: {result[label]}")
        return result

    def reconstruction(self) -> dict[str, object]:
        """F1 of restated passages of 500 tokens, one soft token per chunk, beside lower ratios."""
        rng = random.Random(self.seed)
        texts = [record.text for record in self.data.records(["text_books"])]
        samples = []
        for number in range(max(2, self.n_samples // 4)):
            text = rng.choice(texts)
            start = rng.randrange(len(text) - 2_100)
            passage = text[start : start + 2_000].partition(" ")[2].strip()
            samples.append(Sample(str(number), passage, wordings()[0], (passage,)))
        specs = {
            "floor": "no-document",
            "e2llm at chunk": "e2llm:ratio=chunk:expand=0",
            "e2llm at 16": "e2llm:ratio=16:expand=0",
        }
        return self.compare(samples, specs, "reconstruction", "f1", 600)

    def answers(self) -> dict[str, object]:
        """F1 of short answers from soft tokens alone at ratio 8, beside no document and the text."""
        specs = {
            "floor": "no-document",
            "e2llm": "e2llm:ratio=8:expand=0",
            "head": "head:ratio=8:expand=0",
            "ceiling": "full-text",
        }
        folders = {"squad_v2_dev": 2**62, "fairytaleqa": 24_000, "narrativeqa_summaries": 2**62}
        result = {}
        for folder, n_chars in folders.items():
            say(f" {folder}")
            result[folder] = self.compare(self.questions(folder, n_chars), specs, "f1", "f1", 24)
        return result

    def expanding(self) -> dict[str, object]:
        """F1 on documents of 16K tokens with four chunks as text, beside retrieval with as many
        positions.
        """
        samples = self.questions("squad_v2_dev")
        paragraphs = list(
            dict.fromkeys(record.context for record in self.data.records(["squad_v2_dev"]))
        )
        rng = random.Random(self.seed)
        rng.shuffle(paragraphs)
        long: list[Sample] = []
        for start in range(0, len(samples), 8):  # eight questions share a document
            own = samples[start : start + 8]
            held = [sample.document for sample in own]
            n_chars, chosen = sum(map(len, held)), list(held)
            for paragraph in paragraphs:
                if n_chars > 64_000:
                    break
                if paragraph not in held:
                    chosen.append(paragraph)
                    n_chars += len(paragraph)
            rng.shuffle(chosen)
            document = "\n\n".join(chosen)
            long += [Sample(sample.id, document, sample.question, sample.answers) for sample in own]
        specs = {
            "floor": "no-document",
            "e2llm expand 4": "e2llm:ratio=8:expand=4",
            "e2llm expand 4 at 64": "e2llm:ratio=64:expand=4",
            "e2llm expand 4 at chunk": "e2llm:ratio=chunk:expand=4",
            "e2llm expand 0": "e2llm:ratio=8:expand=0",
            "rag, as many positions": "rag:ratio=8:expand=4",
            "rag, 4 chunks": "rag:ratio=100000:expand=4",
        }
        return self.compare(long, specs, "f1", "f1", 24)

    def summaries(self) -> dict[str, object]:
        """ROUGE on whole meetings."""
        by_document: dict[str, list[Sample]] = {}
        for record in self.data.records(["qmsum"]):
            by_document.setdefault(record.context, []).append(
                Sample(record.id, record.context, record.question, record.answers)
            )
        rng = random.Random(self.seed)
        meetings = rng.sample(
            sorted(by_document), min(max(2, self.n_samples // 3), len(by_document))
        )
        samples = [
            sample
            for meeting in meetings
            for sample in rng.sample(by_document[meeting], min(2, len(by_document[meeting])))
        ]
        specs = {
            "floor": "no-document",
            "e2llm expand 4": "e2llm:expand=4",
            "e2llm expand 0": "e2llm:expand=0",
            "e2llm expand 0 at 8": "e2llm:ratio=8:expand=0",
            "rag": "rag",
        }
        return self.compare(samples, specs, "rouge", "gmean", 128)

    def needles(self) -> dict[str, object]:
        """Share of needles found, from 4K to 128K tokens: four chunks as text; and none, at the
        smallest ratio that fits the decoder's window.
        """
        haystack = "\n\n".join(record.text for record in self.data.records(["text_books"]))
        result = {}
        for n_tokens in (4_000, 16_000, 64_000, 128_000):
            samples = []
            for depth in (0, 25, 50, 75, 100) if n_tokens < 100_000 else (10, 50, 90):
                rng = random.Random(f"{self.seed} {n_tokens} {depth}")
                samples.append(hide(haystack[: n_tokens * 4], n_tokens, depth, rng, "text_books"))
            n_most = max(len(self.pair.processor.text_ids(sample.document)) for sample in samples)
            ratio = max(
                1, math.ceil(10 * n_most / ((self.pair.config.decoder_window or 8192) - 512)) / 10
            )
            say(f" {n_tokens} tokens")
            specs = {
                "e2llm expand 4": "e2llm:expand=4",
                f"e2llm expand 0 at {ratio}": f"e2llm:ratio={ratio}:expand=0",
            }
            result[str(n_tokens)] = self.compare(samples, specs, "contains", "contains", 32)
        return result

    def ranking(self) -> dict[str, object]:
        """Recall of the answer's chunk among the first 4 of 16K tokens, ten questions a sample:
        this pair's encoder, and the one it was made from.
        """
        config = self.pair.config
        untouched = E2LLM.pair(config.encoder_name, config.decoder_name, dtype=self.pair.base.dtype)
        by_paragraph: dict[str, list[QuestionRecord]] = {}
        for record in self.data.records(["squad_v2_dev"]):
            if record.answers[0] in record.context:
                by_paragraph.setdefault(record.context, []).append(record)
        rng = random.Random(self.seed)
        records = [
            rng.choice(own) for own in by_paragraph.values()
        ]  # a question a paragraph, and every paragraph in one document alone
        rng.shuffle(records)
        found: dict[str, list[dict[str, float]]] = {
            "trained": [],
            "untouched": [],
            "difference": [],
        }
        while records and len(found["trained"]) < 10 * self.n_samples:
            starts, n_chars = {}, 0
            while records and n_chars < 64_000:
                record = records.pop()
                starts[record] = n_chars
                n_chars += len(record.context) + 2
            document = "\n\n".join(record.context for record in starts)
            compressed = [
                pair.compress(document, "document", "chunk") for pair in (self.pair, untouched)
            ]
            for record, start in list(starts.items())[
                : 10 * self.n_samples - len(found["trained"])
            ]:
                place = start + record.context.index(record.answers[0])
                hits = []
                for pair, own in zip((self.pair, untouched), compressed, strict=True):
                    ranked = [index for _, index, _ in pair.rank(record.question, [own])[:4]]
                    hits.append(
                        100
                        * float(
                            any(
                                own.spans[index][0] <= place < own.spans[index][1]
                                for index in ranked
                            )
                        )
                    )
                for label, hit in zip(found, (*hits, hits[0] - hits[1]), strict=True):
                    found[label].append({"recall": hit})
        result = {"n": len(found["trained"]), "neighbour_weight": NEIGHBOUR_WEIGHT}
        for label, own_hits in found.items():
            result[label] = interval("recall", own_hits, 2)
        say(f"  {result}")
        return result


PARTS = ("restating", "ranking", "answers", "expanding", "needles", "summaries", "reconstruction")


def main() -> None:
    """Measure, print one line of JSON, and keep it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smol")
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--samples", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, required=False)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    pair = E2LLM.from_pretrained(given.model)
    goals = Goals(
        pair, Data(given.data or Path(os.environ["E2LLM_DATA"])), given.samples, given.seed
    )
    result = {
        "benchmark": "trained_pair",
        "model": Path(given.model).name,
        "samples": given.samples,
        "seed": given.seed,
        **where(),
    }
    given.output.mkdir(parents=True, exist_ok=True)
    file = given.output / f"trained_pair-{result['date'].replace(':', '')}.json"
    file.touch(exist_ok=False)
    for part in given.only.split(","):
        begun = time.perf_counter()
        say(part)
        result[part] = getattr(goals, part)()
        file.write_text(
            json.dumps(result, indent=1), encoding="utf-8"
        )  # as it stands, should it be interrupted
        say(f"{part}: {time.perf_counter() - begun:.0f} s")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
