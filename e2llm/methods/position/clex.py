"""CLEX (Chen et al. 2023, arXiv 2310.16450): continuous length extrapolation.

The logarithms z of the rotary frequencies move with the scale t, the text's length over the trained
window, as a differential equation says (section 3.2): dz/dt = W_down SiLU(W_up x) + xi(t), where
xi(t) is how fast dynamic NTK scaling moves them and x, as in the authors' code, z with what NTK
makes of it. W_down begins at zero, so that within the window nothing changes and beyond it CLEX
begins as dynamic NTK.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from e2llm.checks import check_count
from e2llm.errors import UserError
from e2llm.methods.decoders.rotary import rotary, trained_window
from e2llm.methods.position.base import LongerWindow


@dataclass
class Clex(LongerWindow):
    """Read the whole document as text, at frequencies learnt for every scale up to `factor`.

    Attributes:
        factor: Largest scale, in training and in reading (the authors' Llama-2-7B: trained window
            4,096, tested to 65,536).
        width: Inner width of the network over the rotary dimension (the paper's lambda;
            `param_factor` of the authors' models is 1).
        step: Step of the Runge-Kutta method in the scale; with 0.1 its error is below one part in
            100,000.
    """

    factor: float = 16.0
    width: int = 1
    step: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("width", self.width, 1)
        if not 0 < self.step <= 1:
            raise UserError(
                f"`step` (={self.step!r}) must be above 0 and at most 1; 0.1 is precise enough."
            )

    def build(self) -> nn.Module:
        """Put LoRA on the base decoder, and learnt positions in the place of its own."""
        decoder: Any = super().build()
        plain = rotary(decoder)
        name = next(name for name, module in decoder.named_modules() if module is plain)
        positions = ClexPositions(
            plain.inv_freq,
            plain.attention_scaling,
            trained_window(decoder),
            int(self.factor),
            self.width,
            self.step,
        )
        decoder.set_submodule(name, positions)
        return decoder

    def frequencies(self, n_positions: int) -> tuple[Tensor, float]:
        """Return what the equation gives at the scale of a text of `n_positions`."""
        positions = rotary(self.module)
        # The least whole number of windows that holds it.
        scale = min(-(-n_positions // positions.window), positions.most)
        with torch.no_grad():
            return positions.at(scale), positions.attention_scaling


class ClexPositions(nn.Module):
    """Rotary positions in the place of a decoder's own.

    While they train, each text is read at a scale drawn at random, at positions drawn from the
    whole of that scale (section 3.3); else at the frequencies in `inv_freq`.

    Args:
        frequencies: The decoder's own, (rotary_dim / 2,).
        attention_scaling: What cosines and sines are multiplied by.
        window: The trained window.
        most: Largest scale.
        width: Inner width of the network over the rotary dimension.
        step: Of the Runge-Kutta method.
    """

    inv_freq: Tensor
    plain: Tensor

    def __init__(
        self,
        frequencies: Tensor,
        attention_scaling: float,
        window: int,
        most: int,
        width: int,
        step: float,
    ) -> None:
        super().__init__()
        self.attention_scaling = attention_scaling
        self.window, self.most, self.step = window, most, step
        self.register_buffer("plain", frequencies.detach().clone().float(), persistent=False)
        self.register_buffer("inv_freq", self.plain.clone(), persistent=False)
        n = len(frequencies)
        # (rotary_dim / 2, rotary_dim x width) and back; zero on the way back, so that it begins as
        # dynamic NTK.
        self.up = nn.Parameter(torch.empty(n, 2 * n * width, device=frequencies.device))
        self.down = nn.Parameter(torch.zeros(2 * n * width, n, device=frequencies.device))
        nn.init.kaiming_uniform_(self.up, a=math.sqrt(5))

    def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return cosines and sines.

        Shape:
            position_ids (batch, seq) -> twice (batch, seq, rotary_dim), in the type of `x`
        """
        # Rounded to bfloat16, the angles of far positions would be wrong.
        with torch.autocast(x.device.type, enabled=False):
            positions, frequencies = position_ids.float(), self.inv_freq
            if self.training:
                positions, frequencies = self.draw(position_ids)
            angles = positions[..., None] * frequencies  # (batch, seq, rotary_dim / 2)
            angles = torch.cat([angles, angles], dim=-1)  # (batch, seq, rotary_dim)
            cosines = angles.cos() * self.attention_scaling
            sines = angles.sin() * self.attention_scaling
            return cosines.to(x.dtype), sines.to(x.dtype)

    def draw(self, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Draw a scale, and positions of it in order; return them with the scale's frequencies.

        The first and the last position of the scale are always among them.

        Shape:
            position_ids (batch, seq) -> (batch, seq), (rotary_dim / 2,)
        """
        scale, seq = int(torch.randint(1, self.most + 1, ())), position_ids.shape[-1]
        between = torch.randperm(seq * scale - 2)[: seq - 2].sort().values + 1  # (seq - 2,)
        drawn = F.pad(F.pad(between, (1, 0)), (0, 1), value=seq * scale - 1)  # (seq,)
        # A text that is longer than the window is taken to be its width for this, so that no
        # position is beyond the scale.
        positions = drawn.to(position_ids.device) / max(1, seq // self.window)  # (seq,)
        return positions.expand(position_ids.shape), self.at(scale)

    def at(self, scale: int) -> Tensor:
        """Return the frequencies at a scale, with gradient, (rotary_dim / 2,) float32."""
        if scale == 1:
            return self.plain
        n_steps = math.ceil((scale - 1) / self.step)
        return solve(self.slope, self.plain.log(), 1.0, float(scale), n_steps).exp()

    def slope(self, logs: Tensor, scale: float) -> Tensor:
        """Return how fast the frequencies' logarithms move with the scale, (rotary_dim / 2,)."""
        # Dynamic NTK: the base grows by alpha^(d / (d - 2)) with alpha = 2 t - 1, so that the j-th
        # frequency falls by alpha^(-2 j / (d - 2)).
        n, alpha = len(logs), 2 * scale - 1
        falls = torch.arange(n, device=logs.device) / max(1, n - 1)  # (rotary_dim / 2,)
        known = logs + self.plain.log() - falls * math.log(alpha)
        inner = F.silu(known @ self.up.float())  # (rotary_dim x width,)
        return inner @ self.down.float() - falls * (2 / alpha)


def solve(
    slope: Callable[[Tensor, float], Tensor], start: Tensor, begin: float, end: float, n_steps: int
) -> Tensor:
    """Follow dz/dt = slope(z, t) from `begin` to `end` and return z there.

    The steps are equal ones of the classical Runge-Kutta method, of the fourth order.
    """
    z, step = start, (end - begin) / n_steps
    for index in range(n_steps):
        t = begin + index * step
        first = slope(z, t)
        second = slope(z + step / 2 * first, t + step / 2)
        third = slope(z + step / 2 * second, t + step / 2)
        fourth = slope(z + step * third, t + step)
        z = z + step / 6 * (first + 2 * second + 2 * third + fourth)
    return z
