"""A decoder in a GGUF file: converted once to safetensors, and kept."""

import functools
import hashlib
import importlib.util
import io
import logging
import shutil
import tempfile
import time
from contextlib import redirect_stderr
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from e2llm import environment
from e2llm.errors import MissingPackageError

logger = logging.getLogger(__name__)


def convert_gguf(file: Path) -> Path:
    """Convert a GGUF file to a safetensors folder, once; its name holds the file's digest."""
    state = file.stat()
    digest = _digest(file, state.st_size, state.st_mtime_ns)
    folder = environment.home() / "decoders" / f"{file.stem}-{digest[:16]}"
    if folder.is_dir():
        return folder
    if importlib.util.find_spec("gguf") is None:
        raise MissingPackageError(
            f"reading {file.name!r} needs the package gguf: pip install 'e2llm[smol]'."
        )
    logger.warning("Converting %s for the first use; this takes about 20 seconds.", file.name)
    source = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    # Its progress bar has no switch, and shows where there is no terminal too.
    with redirect_stderr(io.StringIO()):
        model = AutoModelForCausalLM.from_pretrained(
            **source, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
        )
    model.config._name_or_path = ""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(".converting-*"):  # by a conversion that was killed
        if time.time() - left.stat().st_mtime > 3600:
            shutil.rmtree(left, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=".converting-", dir=folder.parent))
    try:
        model.save_pretrained(temporary)
        AutoTokenizer.from_pretrained(**source).save_pretrained(temporary)
        temporary.chmod(0o755)
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():  # another process may have finished first
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


@functools.lru_cache(maxsize=8)
def _digest(file: Path, n_bytes: int, mtime_ns: int) -> str:
    """Return the SHA-256 of a file; size and time tell whether it is still the one digested."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
