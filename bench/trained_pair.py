"""Measure what a trained pair is worth, beside floor, rivals and ceiling.

The floor has no document, rivals have an equal budget, and the ceiling is the same decoder reading
the text.

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
import sys
import time
from pathlib import Path

from held_out import ANY_LENGTH, SQUAD, HeldOut
from read_and_ask import where

from e2llm import E2LLM
from e2llm.benchmarks.base import Sample
from e2llm.benchmarks.data import Data
from e2llm.errors import E2LLMError
from e2llm.evaluation.metrics import measure, retention, summarise
from e2llm.methods import make_method
from e2llm.reading.ranking import NEIGHBOUR_WEIGHT
from e2llm.training.tasks.understanding import wordings


def interval(name: str, scores: list[dict[str, float]], n_digits: int = 2) -> list[float]:
    """Return a mean with the ends of its 95 % interval."""
    return [round(value, n_digits) for value in summarise(name, scores)]


def say(*words: object) -> None:
    """Tell how far it is."""
    print(*words, file=sys.stderr, flush=True)


class Goals:
    """The measurements, one per method."""

    def __init__(self, pair: E2LLM, held_out: HeldOut) -> None:
        self.pair, self.held_out = pair, held_out

    def answered(
        self, spec: str, samples: list[Sample], metric: str, max_new_tokens: int
    ) -> list[dict[str, float]]:
        """Answer every sample with a method; tell of one that cannot be read, and leave it out."""
        method, scores = make_method(spec, self.pair), []
        reading, document = None, None
        for sample in samples:
            try:
                # Questions about one document stand together, and it is read once.
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
        """Nats per token of restating one chunk, at 1 to 64 text tokens per soft token."""
        chunks = self.held_out.chunks(self.pair.chunker)
        result: dict[str, object] = {"n": len(chunks)}
        ratios = {
            f"e2llm at {ratio}": f"e2llm:ratio={ratio}:expand=0" for ratio in (1, 2, 4, 8, 16, 64)
        }
        for label, spec in {"floor": "no-document", **ratios, "ceiling": "full-text"}.items():
            method, nats = make_method(spec, self.pair), []
            for chunk in chunks:
                scored = method.score(method.read(chunk), wordings()[0], chunk)  # (chunk_len,)
                nats.append({"nats": float(scored.mean())})
            result[label] = interval("nats", nats, 3)
            say(f"  {label}: {result[label]}")
        return result

    def reconstruction(self) -> dict[str, object]:
        """F1 of restated passages of 500 tokens, one soft token per chunk, beside lower ratios."""
        specs = {
            "floor": "no-document",
            "e2llm at chunk": "e2llm:ratio=chunk:expand=0",
            "e2llm at 16": "e2llm:ratio=16:expand=0",
        }
        return self.compare(self.held_out.passages(), specs, "reconstruction", "f1", 600)

    def answers(self) -> dict[str, object]:
        """F1 of short answers from soft tokens at ratio 8, beside no document and the text."""
        specs = {
            "floor": "no-document",
            "e2llm": "e2llm:ratio=8:expand=0",
            "head": "head:ratio=8:expand=0",
            "ceiling": "full-text",
        }
        folders = {SQUAD: ANY_LENGTH, "fairytaleqa": 24_000, "narrativeqa_summaries": ANY_LENGTH}
        result = {}
        for folder, n_chars in folders.items():
            say(f" {folder}")
            samples = self.held_out.questions(folder, n_chars)
            result[folder] = self.compare(samples, specs, "f1", "f1", 24)
        return result

    def expanding(self) -> dict[str, object]:
        """F1 on documents of 16K tokens with four chunks expanded, beside RAG at equal budget."""
        specs = {
            "floor": "no-document",
            "e2llm expand 4": "e2llm:ratio=8:expand=4",
            "e2llm expand 4 at 64": "e2llm:ratio=64:expand=4",
            "e2llm expand 4 at chunk": "e2llm:ratio=chunk:expand=4",
            "e2llm expand 0": "e2llm:ratio=8:expand=0",
            "rag, as many positions": "rag:ratio=8:expand=4",
            "rag, 4 chunks": "rag:ratio=100000:expand=4",
        }
        return self.compare(self.held_out.long_documents(), specs, "f1", "f1", 24)

    def summaries(self) -> dict[str, object]:
        """ROUGE on whole meetings."""
        specs = {
            "floor": "no-document",
            "e2llm expand 4": "e2llm:expand=4",
            "e2llm expand 0": "e2llm:expand=0",
            "e2llm expand 0 at 8": "e2llm:ratio=8:expand=0",
            "rag": "rag",
        }
        return self.compare(self.held_out.meetings(), specs, "rouge", "gmean", 128)

    def needles(self) -> dict[str, object]:
        """Share of needles found, from 4K to 128K tokens.

        With four chunks expanded; and with none, at the smallest ratio that fits the window.
        """
        result = {}
        for n_tokens in (4_000, 16_000, 64_000, 128_000):
            samples = self.held_out.needles(n_tokens)
            n_most = max(len(self.pair.processor.text_ids(sample.document)) for sample in samples)
            # 512 positions are left for instruction, question and answer.
            room = (self.pair.config.decoder_window or 8192) - 512
            ratio = max(1, math.ceil(10 * n_most / room) / 10)
            say(f" {n_tokens} tokens")
            specs = {
                "e2llm expand 4": "e2llm:expand=4",
                f"e2llm expand 0 at {ratio}": f"e2llm:ratio={ratio}:expand=0",
            }
            result[str(n_tokens)] = self.compare(samples, specs, "contains", "contains", 32)
        return result

    def ranking(self) -> dict[str, object]:
        """Recall of the answer's chunk among the first 4 of 16K tokens.

        By this pair's encoder, and by the one that it was made from.
        """
        config = self.pair.config
        untouched = E2LLM.pair(config.encoder_name, config.decoder_name, dtype=self.pair.base.dtype)
        pairs = {"trained": self.pair, "untouched": untouched}
        found: dict[str, list[dict[str, float]]] = {name: [] for name in (*pairs, "difference")}
        for document, questions in self.held_out.asked_documents():
            compressed = {
                name: pair.compress(document, "document", "chunk") for name, pair in pairs.items()
            }
            for question, place in questions:
                hits = {}
                for name, pair in pairs.items():
                    own = compressed[name]
                    spans = [own.spans[index] for _, index, _ in pair.rank(question, [own])[:4]]
                    hits[name] = 100.0 * any(start <= place < end for start, end in spans)
                # Per question, so that its interval is of the difference.
                hits["difference"] = hits["trained"] - hits["untouched"]
                for name, hit in hits.items():
                    found[name].append({"recall": hit})
        result = {"n": len(found["trained"]), "neighbour_weight": NEIGHBOUR_WEIGHT}
        result |= {name: interval("recall", own) for name, own in found.items()}
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
    data = Data(given.data or Path(os.environ["E2LLM_DATA"]))
    goals = Goals(pair, HeldOut(data, given.samples, given.seed))
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
        # As it stands, should it be interrupted.
        file.write_text(json.dumps(result, indent=1), encoding="utf-8")
        say(f"{part}: {time.perf_counter() - begun:.0f} s")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
