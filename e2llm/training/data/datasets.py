"""Ready loaders of public data sets: the paper's, and three common ones.

Each names a data set on the hub that `datasets` loads without running a script (it runs none since
version 4), and a small function from one of its rows to the fields of a record. To add one, write
that function and its line in `DATASETS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]

_SUMMARIZE = "Summarize the report."
_LETTERS = "ABCDEFGH"


@dataclass(frozen=True)
class NamedDataset:
    """Where a data set lies on the hub, and how to read it.

    Attributes:
        hub: Its name there.
        read: Turns a row into the fields of a record.
        splits: The splits whose answers are public.
        config: Its configuration, unless another is asked for.
        document: Column (dotted) that tells documents apart, where hashing every context would be
            slow or too strict.
        files: Where the data files are, if `datasets` does not find them by itself; {hub},
            {revision}, {config} and {split} are filled in.
    """

    hub: str
    read: Callable[[Row], dict[str, Any]]
    splits: tuple[str, ...] = ("train", "validation")
    config: str | None = None
    document: str | None = None
    files: str | None = None


def pick(row: Row, path: str) -> Any:
    """Return what stands under a dotted path; of a list on the way, in each of its items.

    Example:
        >>> pick({"answers": {"text": ["Bo"]}}, "answers.text")
        ['Bo']
        >>> pick({"answers": [{"text": "Bo"}]}, "answers.text")
        ['Bo']
    """
    value: Any = row
    for name in path.split("."):
        value = [item[name] for item in value] if isinstance(value, list) else value[name]
    return value


def read_columns(row: Row, columns: Mapping[str, str]) -> dict[str, Any]:
    """Return a record's fields where each is a column."""
    return {field: pick(row, column) for field, column in columns.items()}


def read_qmsum(row: Row) -> dict[str, Any]:
    """SCROLLS puts the query before the transcript, two line feeds between them."""
    question, _, context = row["input"].partition("\n\n")
    return {
        "id": row["id"],
        "context": context.strip(),
        "question": question.strip(),
        "answers": row["output"],
    }


def read_govreport(row: Row) -> dict[str, Any]:
    """A report and its summary."""
    return {"context": row["report"], "question": _SUMMARIZE, "answers": row["summary"]}


def read_quality(row: Row) -> dict[str, Any]:
    """Multiple choice as writing: the question holds the options, the answer is the right one."""
    options = [option.strip() for option in row["options"]]
    listed = "\n".join(
        f"({letter}) {option}" for letter, option in zip(_LETTERS, options, strict=False)
    )
    return {
        "context": row["article"],
        "question": f"{row['question'].strip()}\n{listed}",
        "answers": options[row["answer"]],
    }


def read_narrativeqa(row: Row) -> dict[str, Any]:
    """The question about the whole story."""
    return _read_narrativeqa(row, row["document"]["text"])


def read_narrativeqa_summaries(row: Row) -> dict[str, Any]:
    """The same question about the summary of the plot, from which it was written."""
    return _read_narrativeqa(row, row["document"]["summary"]["text"])


def _read_narrativeqa(row: Row, context: str) -> dict[str, Any]:
    return {
        "context": context,
        "question": row["question"]["text"],
        "answers": pick(row, "answers.text"),
    }


def read_triviaqa(row: Row) -> dict[str, Any]:
    """Pages of the entities, then pages of the web; the answer's usual form comes first."""
    pages = [*row["entity_pages"]["wiki_context"], *row["search_results"]["search_context"]]
    answers = dict.fromkeys([row["answer"]["value"], *row["answer"]["aliases"]])
    return {
        "id": row["question_id"],
        "context": _join(pages),
        "question": row["question"],
        "answers": list(answers),
    }


def read_hotpotqa(row: Row) -> dict[str, Any]:
    """The paragraphs, each under its title."""
    paragraphs = zip(row["context"]["title"], row["context"]["sentences"], strict=True)
    context = _join(f"{title}\n{''.join(sentences).strip()}" for title, sentences in paragraphs)
    return {
        "id": row["id"],
        "context": context,
        "question": row["question"],
        "answers": row["answer"],
    }


def read_squad(row: Row) -> dict[str, Any]:
    """Version 1.1, in which every question has an answer; people may have given the same one."""
    answers = list(dict.fromkeys(row["answers"]["text"]))
    return {
        "id": row["id"],
        "context": row["context"],
        "question": row["question"],
        "answers": answers,
    }


def _join(texts: Any) -> str:
    return "\n\n".join(text.strip() for text in texts if text.strip())


# Names, configurations, splits and columns are those of the cards and file lists on
# huggingface.co/datasets/NAME, as stored copies have them.
DATASETS = {
    # A repository with a script and one zip per task, whose files are read past the script
    # (EleutherAI/lm-evaluation-harness, pull request 3975). Its test split has no answers.
    "qmsum": NamedDataset(
        "tau/scrolls",
        read_qmsum,
        config="qmsum",
        files="zip://{config}/{split}.jsonl::https://huggingface.co/datasets/{hub}/resolve/{revision}/{config}.zip",
    ),
    # Parquet since revision 4e21184; columns `report` and `summary`.
    "govreport": NamedDataset(
        "ccdv/govreport-summarization",
        read_govreport,
        ("train", "validation", "test"),
        config="document",
    ),
    # nyu-mll/quality one question a row, as Parquet: `article`, `question`, `options`, `answer`
    # (counted from 0), `hard`.
    "quality": NamedDataset("emozilla/quality", read_quality),
    # Parquet: structs `document` (with `id`, `text` and `summary.text`) and `question`, and a list
    # of structs `answers`. 3.2 GB to download.
    "narrativeqa": NamedDataset(
        "deepmind/narrativeqa",
        read_narrativeqa,
        ("train", "validation", "test"),
        document="document.id",
    ),
    "narrativeqa_summaries": NamedDataset(
        "deepmind/narrativeqa",
        read_narrativeqa_summaries,
        ("train", "validation", "test"),
        document="document.id",
    ),
    # Parquet since revision 0f7faf3. Its test split has no answers; "rc.wikipedia" and "rc.web" are
    # its two halves.
    "triviaqa": NamedDataset(
        "mandarjoshi/trivia_qa", read_triviaqa, config="rc", document="question_id"
    ),
    # Parquet. Its paragraphs come from articles, which `title` names: questions about one article
    # stay together.
    "squad": NamedDataset("rajpurkar/squad", read_squad, document="title"),
    # Parquet: `context.title` and `context.sentences`, lists of equal length. "fullwiki" has a test
    # split without answers.
    "hotpotqa": NamedDataset(
        "hotpotqa/hotpot_qa", read_hotpotqa, config="distractor", document="id"
    ),
}


def find_dataset(name: str) -> NamedDataset | None:
    """Return the ready loader of that name or hub name (the first, where two share it), or None."""
    return DATASETS.get(name) or next(
        (dataset for dataset in DATASETS.values() if dataset.hub == name), None
    )
