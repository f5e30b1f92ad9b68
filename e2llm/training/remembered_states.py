"""The states of chunks that a frozen encoder has read once in a stage."""

from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor


class RememberedStates:
    """Chunk states by the chunk's token ids; the longest unused are forgotten first.

    Args:
        max_bytes: Bound of what is kept; what would exceed it is forgotten.
    """

    def __init__(self, max_bytes: int = 4 * 2**30) -> None:
        self.max_bytes, self.n_bytes = max_bytes, 0
        self._states: OrderedDict[bytes, Tensor] = OrderedDict()

    def __call__(
        self, encode: Callable[[Tensor, Tensor], Tensor], input_ids: Tensor, attention_mask: Tensor
    ) -> Tensor:
        """Return the states of a batch of rows, of which `encode` reads those that are new.

        Shape:
            input_ids, attention_mask (n_rows, chunk_len) -> (n_rows, chunk_len, d_enc); 0 on
            padding
        """
        lengths = attention_mask.sum(1).tolist()  # n_rows numbers
        # Without padding, so that a chunk is found again in a batch of another width.
        keys = [
            row[:length].cpu().numpy().tobytes()
            for row, length in zip(input_ids, lengths, strict=True)
        ]
        # Held apart, for what this batch needs may be forgotten below before it is used.
        own = {key: self._states[key] for key in keys if key in self._states}
        rows = [index for index, key in enumerate(keys) if key not in own]
        if rows:
            read = encode(input_ids[rows], attention_mask[rows])  # (new rows, chunk_len, d_enc)
            for states, index in zip(read, rows, strict=True):
                # A copy: a view would keep the whole batch, padding and all.
                own[keys[index]] = states[: lengths[index]].clone()  # (length, d_enc)
        for key in keys:
            if key not in self._states:
                self.n_bytes += own[key].nbytes
                self._states[key] = own[key]
            self._states.move_to_end(key)
        while self.n_bytes > self.max_bytes and self._states:
            self.n_bytes -= self._states.popitem(last=False)[1].nbytes
        first = own[keys[0]]
        result = first.new_zeros(*input_ids.shape, first.shape[-1])  # (n_rows, chunk_len, d_enc)
        for row, key in enumerate(keys):
            result[row, : lengths[row]] = own[key]
        return result
