"""Where benchmarks find their texts: a local folder per data set, or the hub by name.

A folder holds JSON Lines, as training reads them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from pydoc_data import topics

from e2llm.errors import E2LLMError, UserError
from e2llm.training.data.records import Record
from e2llm.training.data.sources import SourceSettings, open_source

# Lengths in tokens are made of characters, since tokens depend on the decoder; what was read is
# counted and kept with each result.
CHARS_PER_TOKEN = 4
# A local data set of long texts that haystacks are made of.
BOOKS = "text_books"
LOCAL_SPLIT, HUB_SPLIT = "dev", "validation"


@dataclass(frozen=True)
class Data:
    """Local data sets, a folder each, with a file `dev.jsonl` or `dev.jsonl.gz`.

    Attributes:
        folder: Where they lie; None for none, so that every data set comes from the hub.
    """

    folder: Path | None = None

    def __post_init__(self) -> None:
        if self.folder is not None and not self.folder.is_dir():
            raise UserError(
                f"`data` (={str(self.folder)!r}) is no folder; name one that holds a folder "
                "of JSON Lines per data set."
            )

    def records(self, names: Sequence[str]) -> Iterable[Record]:
        """Return the records to test on of the first of these data sets that is here.

        Where none is, they are those of the first from the hub.

        Raises:
            E2LLMError: None can be had, or its form is wrong; the message says how to get it.
        """
        for name in names:
            if self.folder is not None and (self.folder / name).is_dir():
                return open_source(SourceSettings(path=str(self.folder / name), split=LOCAL_SPLIT))
        try:
            return open_source(SourceSettings(dataset=names[0], split=HUB_SPLIT))
        except E2LLMError as error:
            raise E2LLMError(
                f"no folder {' or '.join(names)} with {LOCAL_SPLIT}.jsonl in `--data`, and "
                f"the hub does not give it: {error}"
            ) from error

    def haystack(self) -> tuple[str, str]:
        """Return the name of a long text and the text.

        It is local books where there are any, else the Python language reference.
        """
        if self.folder is not None and (self.folder / BOOKS).is_dir():
            texts = [record.text for record in self.records([BOOKS])]  # type: ignore[union-attr]
            return BOOKS, "\n\n".join(texts)
        pages = [f"{name}\n{text}\n" for name, text in sorted(topics.topics.items())]
        return "python-reference", "\n".join(pages)


def repeat(text: str, n_chars: int) -> str:
    """Return the first `n_chars` characters of a text, which begins anew where it is too short."""
    return (text * -(-n_chars // len(text)))[:n_chars]
