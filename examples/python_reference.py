"""Write the Python language reference, which lies inside every Python, to standard output.

It is a real document of about 110,000 tokens.
"""

import sys
from pydoc_data import topics


def reference() -> str:
    """Return the reference's topics in the order of their names."""
    return "\n".join(f"{name}\n{text}\n" for name, text in sorted(topics.topics.items()))


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    print(reference())
