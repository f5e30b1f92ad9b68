"""`e2llm show`: what is inside a pair or a compressed document."""

import json
import logging
import os
from typing import Annotated, Any

import typer

from e2llm.cli import options
from e2llm.cli.documents import SUFFIX
from e2llm.cli.loading import load_model, open_library
from e2llm.cli.terminal import say, status
from e2llm.errors import UserError


def show(
    what: Annotated[
        str,
        typer.Argument(
            metavar="DIR|DOC",
            help="A pair's folder, hub name or shipped name, a .e2llm file, or the name of a "
            "stored document.",
        ),
    ],
    chunks: Annotated[
        bool, typer.Option("--chunks", help="List a document's chunks with their places.")
    ] = False,
    plan: Annotated[
        str | None,
        typer.Option(
            "--plan",
            metavar="QUESTION",
            help="Print in which form each part of a document would stand in the prompt.",
        ),
    ] = None,
    budget: options.Budget = None,
    whole: options.Whole = False,
    model: options.Model = "smol",
    library: options.LibraryFolder = None,
    as_json: options.Json = False,
) -> None:
    """Show what is inside a pair or a compressed document."""
    if plan is not None:
        _show_plan(what, plan, budget, whole, model, library, as_json)
        return
    if budget is not None or whole:
        raise UserError("`--budget` and `--whole` need `--plan QUESTION`.")
    facts = _facts(what, library, chunks)
    if as_json:
        print(json.dumps(facts, ensure_ascii=False))
        return
    rows = facts.pop("chunks", [])
    width = max(map(len, facts))
    for name, value in facts.items():
        print(
            f"{name:<{width}}  {value:,}"
            if isinstance(value, int) and not isinstance(value, bool)
            else f"{name:<{width}}  {value}"
        )
    for row in rows:
        page = f"  {row['unit']} {row['page']}" if row["page"] else ""
        start = " ".join(row["text"].split())[:60]
        print(
            f"{row['index']:>6}  {row['start']}-{row['end']}  {row['n_tokens']} tokens  "
            f"{row['n_soft']} soft{page}  {start}"
        )


def _show_plan(
    what: str,
    question: str,
    budget: int | None,
    whole: bool,
    model: str,
    library: Any,
    as_json: bool,
) -> None:
    from e2llm.documents.compressed import CompressedDocument

    if what.endswith(SUFFIX):
        document = CompressedDocument.load(what)
    else:
        document = open_library(library).load(what)
    plan = load_model(model).plan(question, document, budget=budget, whole=whole)
    if as_json:
        print(json.dumps([row._asdict() for row in plan.chunks], ensure_ascii=False))
    else:
        print(plan)
    for notice in plan.notices:
        say(f"Note: {notice}")


def _facts(what: str, library: Any, chunks: bool) -> dict[str, Any]:
    from e2llm.pairs import find_pair, shipped_pairs

    # Pairs on this machine first, then documents; the hub is asked last, since that takes time.
    if not what.endswith(SUFFIX) and (os.path.isdir(what) or what in shipped_pairs()):
        return _pair_facts(find_pair(what))
    from e2llm.documents.compressed import CompressedDocument

    if what.endswith(SUFFIX):
        return _document_facts(CompressedDocument.load(what), chunks)
    shelf = open_library(library)
    if not shelf.find(what):
        if (folder := _hub_folder(what)) is not None:
            return _pair_facts(folder)
        raise UserError(
            f"`{what}` is no pair, no {SUFFIX} file and no stored document; see `e2llm "
            "models` and `e2llm library list`."
        )
    return _document_facts(shelf.load(what), chunks)


def _hub_folder(name: str) -> str | None:
    """Return where the configuration of a hub's pair was fetched to, or None where the hub knows no
    such name or cannot be reached.
    """
    if name.count("/") != 1 or "." in name.split("/")[0]:
        return None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        with status("Asking the hub ..."):
            return os.path.dirname(hf_hub_download(name, "config.json"))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError):
        return None


def _pair_facts(path: str) -> dict[str, Any]:
    try:
        with open(os.path.join(path, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
        if not isinstance(config, dict):
            raise ValueError("not an object")
    except (OSError, ValueError) as error:
        raise UserError(
            f"`{path}` holds no readable config.json; name a folder that `e2llm pair` made."
        ) from error
    if config.get("model_type") != "e2llm":
        raise UserError(
            f"`{path}` is a {config.get('model_type')} model, not a pair; make one with "
            "`e2llm pair ENCODER DECODER -o DIR`."
        )
    names = (
        "encoder_name",
        "decoder_name",
        "adapter",
        "pooling",
        "trained",
        "ratio",
        "expand",
        "chunk_chars",
        "overlap_chars",
        "window_chunks",
    )
    facts = {
        name: config.get(name)
        for name in (*names, "encoder_max_tokens", "embedding_pooling", "soft_token_norm")
    }
    text = config.get("text_config", {})
    facts["decoder_window"] = text.get("max_position_embeddings") or text.get("n_positions")
    facts["files_bytes"] = sum(
        os.path.getsize(os.path.join(folder, file))
        for folder, _, files in os.walk(path)
        for file in files
    )
    return facts


def _document_facts(document: Any, chunks: bool) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "name": document.name,
        "characters": len(document.text),
        "tokens": document.n_tokens,
        "soft_tokens": document.n_soft,
        "chunks_count": document.n_chunks,
        "ratio": round(document.ratio_got, 2),
        "ratio_asked": document.ratio,
        "window": document.window,
        f"{document.unit}s": len(document.page_starts) or None,
        "notices": list(document.notices),
        "sha256": document.sha256,
        "fingerprint": document.fingerprint,
        "key": document.key,
    }
    if chunks:
        facts["chunks"] = [vars(chunk) for chunk in document.chunks]
    return facts
