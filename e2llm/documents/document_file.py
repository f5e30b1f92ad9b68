"""The file of a compressed document: safetensors with a header and checksums.

The header is JSON in one entry of the safetensors metadata, `FORMAT`: its own SHA-256, a space, and
what the document says of itself, with the SHA-256 of the tensors.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from e2llm.errors import CorruptDocumentError, ReadError

SUFFIX = ".e2llm"
FORMAT = "e2llm-document-1"


def serialize(header: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> bytes:
    """Return the bytes of a safetensors file; the same document gives the same bytes."""
    text = json.dumps({**header, "tensors_sha256": _digest(tensors)})
    # One entry alone: safetensors writes several in any order.
    return save(dict(tensors), {FORMAT: f"{text_sha256(text)} {text}"})


def read_file(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Read the header and the tensors of a file of the form that `serialize` gives.

    Raises:
        ReadError: There is no such file, or it is not a compressed document.
        CorruptDocumentError: It is truncated or damaged.
    """
    header = read_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        intact = _digest(tensors) == header["tensors_sha256"]
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise corrupt(path) from error
    except OSError as error:
        raise ReadError(f"`{path}`: {error.strerror or error}.") from error
    if not intact:
        raise CorruptDocumentError(
            f"`{path}`: its contents do not match their checksum; compress the document again."
        )
    return header, tensors


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what a compressed document's file says of itself, without its tensors.

    Raises:
        ReadError: There is no such file, or it is not a compressed document.
        CorruptDocumentError: It is truncated or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata: Mapping[str, str] = file.metadata() or {}
    except SafetensorError as error:
        raise corrupt(path) from error
    except OSError as error:
        raise ReadError(
            f"`{path}`: {error.strerror or error}; name a file that `e2llm compress` or "
            "`CompressedDocument.save` wrote."
        ) from error
    if FORMAT not in metadata:
        raise ReadError(
            f"`{path}` is not a compressed document of this version ({FORMAT}); compress its text "
            "again."
        )
    digest, _, text = metadata[FORMAT].partition(" ")
    if text_sha256(text) != digest:
        raise corrupt(path)
    header: dict[str, Any] = json.loads(text)
    return header


def corrupt(path: str | os.PathLike[str]) -> CorruptDocumentError:
    """Return the error of a file whose parts do not fit each other."""
    return CorruptDocumentError(
        f"`{path}` is truncated or damaged, or is not a compressed document; compress the document "
        "again."
    )


def text_sha256(text: str) -> str:
    """SHA-256 of `text` in UTF-8."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _digest(tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    # Shape and type too, for the same bytes may be read as other numbers.
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
        if tensor.numel():
            # (n_bytes,): a view as bytes, because NumPy has no bfloat16.
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
