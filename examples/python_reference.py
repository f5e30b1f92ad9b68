"""Write the Python language reference that lies inside every Python to standard output: a real document of about 110,000 tokens."""

import sys
from pydoc_data import topics

sys.stdout.reconfigure(encoding="utf-8")
for name, text in sorted(topics.topics.items()):
    print(f"{name}\n{text}\n")
