"""Hooks of the site: its pages of the files at the root, and links between the two places.

Pages are written for a code host, where a link leads to a file of the repository. On the site a
link to one of its pages leads there, and one to any other file is left as text.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PAGES = {"LOG.md": "log.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<target>[^)\s:#]+)(?P<anchor>#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages whose text lies at the root of the repository."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, **others: Any) -> str:
    """Return a page's text with its links as the site has them."""
    uri = page.file.src_uri
    sources = {place: source for source, place in PAGES.items()}
    folder = posixpath.dirname(sources.get(uri, f"docs/{uri}"))

    def relink(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, match["target"]))
        if not (ROOT / target).exists():
            return match[0]  # no link at all, or a broken one, which the build then reports
        place = PAGES.get(target, target.removeprefix("docs/"))
        if place == target or place.endswith(".py"):
            return match["text"]  # a file that the site does not hold
        place = posixpath.relpath(place, posixpath.dirname(uri) or ".")
        return f"[{match['text']}]({place}{match['anchor'] or ''})"

    return LINK.sub(relink, markdown)
