"""What the tests of sources do with one that cannot be opened."""

import pytest

from e2llm.errors import UserError
from e2llm.training.data import SourceSettings, open_source


def refusal(settings: SourceSettings) -> str:
    """Return the message, of one line, of a source that is refused."""
    with pytest.raises(UserError) as caught:
        open_source(settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)
