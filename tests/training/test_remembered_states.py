"""Chunks that a frozen encoder has read are not read again."""

import torch

from e2llm.training.remembered_states import RememberedStates


class Counting:
    """An encoder whose states are its token ids, and that counts the rows that it reads."""

    def __init__(self) -> None:
        self.n_rows = 0

    def __call__(self, input_ids, attention_mask):
        self.n_rows += len(input_ids)
        return input_ids[..., None].float().repeat(1, 1, 3)


def batch(*rows):
    longest = max(map(len, rows))
    ids = torch.tensor([list(row) + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return ids, mask


def test_every_row_is_read_once_and_padding_is_zero():
    encode, remembered = Counting(), RememberedStates()
    first = remembered(encode, *batch([1, 2, 3], [4, 5]))
    assert encode.n_rows == 2
    assert torch.equal(first[1, 2], torch.zeros(3))
    again = remembered(encode, *batch([4, 5], [1, 2, 3], [6, 7, 8, 9], [6, 7, 8, 9]))
    assert encode.n_rows <= 4
    assert torch.equal(
        again[:, :, 0], torch.tensor([[4.0, 5, 0, 0], [1, 2, 3, 0], [6, 7, 8, 9], [6, 7, 8, 9]])
    )


def test_what_would_take_too_much_memory_is_forgotten_the_longest_unused_first():
    encode, remembered = Counting(), RememberedStates(max_bytes=3 * 3 * 4)
    remembered(encode, *batch([1, 2]))
    remembered(encode, *batch([3]))
    remembered(encode, *batch([1, 2]))
    assert encode.n_rows == 2
    remembered(encode, *batch([4]))
    assert remembered.n_bytes <= remembered.max_bytes
    remembered(encode, *batch([1, 2]))
    assert encode.n_rows == 3
    remembered(encode, *batch([3]))
    assert encode.n_rows == 4
