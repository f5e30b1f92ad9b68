"""Ask forty questions about the Python language reference, and judge the answers.

    python bench/reference_answers.py [--model smol] [--budget 640] [--output FOLDER]
    python bench/reference_answers.py --expand 4 --ratio 64

The questions stand in `reference_questions.jsonl`, each with what a right answer must contain and
the words of the reference that hold the answer (of Python 3.11; other versions say some things
otherwise). The reference is compressed once; every question is asked with the pair's defaults,
unless told otherwise. It ends with one line of JSON, and writes that and every answer to a new file
in `--output`.
"""

import argparse
import json
import re
import sys
import time
from pathlib import Path

from read_and_ask import where

HERE = Path(__file__).parent


def load_questions() -> list[dict]:
    """Return the questions in their order."""
    lines = (HERE / "reference_questions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def fold(text: str) -> str:
    """Return a text without case, and with one space for any white space."""
    return " ".join(text.casefold().split())


def is_right(answer: str, must: list[list[str]]) -> bool:
    """Tell whether of every list at least one alternative occurs in the answer."""
    folded = fold(answer)
    return all(any(fold(word) in folded for word in alternatives) for alternatives in must)


def find_evidence(evidence: str, text: str) -> list[int]:
    """Return the middle of each place where a quote stands, however its lines are broken.

    The reference repeats whole sections: one quote may stand in several places.
    """
    words = r"\s+".join(re.escape(word) for word in evidence.split())
    return [(match.start() + match.end()) // 2 for match in re.finditer(words, text)]


def ask_all(pair, document, expand: int | None, budget: int | None) -> list[dict]:
    """Ask every question, print what came of it, and return one row for each."""
    rows = []
    for question in load_questions():
        places = find_evidence(question["evidence"], document.text)
        answer = pair.ask(question["question"], document, expand, budget=budget)
        ranked = [
            document.spans[index] for _, index, _ in pair.rank(question["question"], [document])
        ]
        rank = next(
            (
                rank
                for rank, (start, end) in enumerate(ranked, 1)
                if any(start <= place < end for place in places)
            ),
            None,  # another Python's reference, which says it in other words
        )
        row = {
            "id": question["id"],
            "answer": answer.text,
            "right": is_right(answer.text, question["must"]),
            "evidence_rank": rank,
            "evidence_expanded": any(
                chunk.start <= place < chunk.end for chunk in answer.expanded for place in places
            ),
            "positions": answer.usage.positions,
            "first_token_s": round(answer.usage.first_token_s, 2),
            "total_s": round(answer.usage.total_s, 2),
        }
        rows.append(row)
        print(f"{question['id']}: {question['question']}\n  {answer.text}")
        seen = "expanded" if row["evidence_expanded"] else "not expanded"
        print(
            f"  {'right' if row['right'] else 'WRONG'}; evidence at rank {rank}, {seen}", flush=True
        )
    return rows


def main() -> None:
    """Ask, print one line of JSON, and keep it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smol")
    parser.add_argument("--budget", type=int, help="decoder positions; the pair's own by default")
    parser.add_argument("--expand", type=int, help="all soft tokens and so many chunks instead")
    parser.add_argument("--ratio", help='a number or "chunk"; the pair\'s own by default')
    parser.add_argument("--output", type=Path, default=HERE / "results")
    given = parser.parse_args()
    import transformers

    from e2llm import E2LLM

    # Run as a script, only its own folder is on the path.
    sys.path.append(str(HERE.parent))
    from examples.python_reference import reference

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    pair = E2LLM.from_pretrained(given.model)
    ratio = given.ratio if given.ratio in (None, "chunk") else float(given.ratio)
    document = pair.compress(reference(), "python-reference.txt", ratio)
    start = time.perf_counter()
    rows = ask_all(pair, document, given.expand, given.budget)
    result = {
        "benchmark": "reference_answers",
        "model": Path(given.model).name,
        "expand": given.expand,
        "budget": given.budget or (pair.config.budget if given.expand is None else None),
        "ratio": document.ratio,
        **where(),
        "chars": len(document.text),
        "chunks": len(document.spans),
        "soft_tokens": document.n_soft,
        "right": sum(row["right"] for row in rows),
        "of": len(rows),
        "evidence_expanded": sum(row["evidence_expanded"] for row in rows),
        "wrong_though_expanded": [
            row["id"] for row in rows if row["evidence_expanded"] and not row["right"]
        ],
        "asking_s": round(time.perf_counter() - start, 1),
    }
    given.output.mkdir(parents=True, exist_ok=True)
    name = f"reference_answers-{result['date'].replace(':', '')}.json"
    with open(given.output / name, "x", encoding="utf-8") as file:
        json.dump({**result, "answers": rows}, file, indent=1, ensure_ascii=False)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
