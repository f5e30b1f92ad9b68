"""Where a model runs, and in which precision."""

from typing import Any

import torch

from e2llm.errors import UserError


def default_device() -> str:
    """Return the accelerator that torch sees, else the CPU."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return "cpu" if found is None else found.type


def default_dtype(device: str | torch.device = "cpu") -> torch.dtype:
    """Return bfloat16 where the device multiplies it natively, else float32."""
    if torch.device(device).type == "cuda":
        return (
            torch.bfloat16
            if torch.cuda.is_bf16_supported(including_emulation=False)
            else torch.float32
        )
    if torch.device(device).type == "mps":
        return torch.bfloat16
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    fast = (
        capabilities.get("avx512_bf16")
        or capabilities.get("amx_bf16")
        or capabilities.get("arm_bf16")
    )
    return torch.bfloat16 if fast else torch.float32


def check_device(device: str | None) -> str:
    """Return a device that torch can use: the default one for None.

    Raises:
        UserError: It cannot be used here.
    """
    if device is None:
        return default_device()
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(
            f'`device` (={device!r}) cannot be used here ({reason}); leave it out, or use "cpu".'
        ) from error
    return device


def check_dtype(dtype: Any, device: str | None) -> Any:
    """Return a torch dtype, given as itself or by its name; None is the device's default.

    Raises:
        UserError: torch has no dtype of this name.
    """
    if isinstance(dtype, str) and dtype != "auto":
        found = getattr(torch, dtype, None)
        if not isinstance(found, torch.dtype):
            raise UserError(
                f'`dtype` (={dtype!r}) must name a torch dtype such as "float32" or "bfloat16".'
            )
        return found
    return default_dtype(device or default_device()) if dtype is None else dtype
