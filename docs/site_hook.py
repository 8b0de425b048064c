"""What `mkdocs` does beside its own: pages that nobody listed, files outside `docs/` that pages
link to, and references of docstrings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

_LINK = re.compile(r"(\]\()((?:\.\./)*)([\w./-]+)((?:#[\w-]+)?\))")
_REFERENCE = re.compile(r":\w+:<code>~?(?:[\w.]+\.)?(\w+)</code>")


def on_config(config: Any) -> Any:
    """Put pages that `nav` does not name at its end, by name, so that a new page needs no edit."""
    listed = set(re.findall(r"[\w/-]+\.md", str(config.nav)))
    docs = Path(config.docs_dir)
    pages = sorted(path.relative_to(docs).as_posix() for path in docs.rglob("*.md"))
    if others := [page for page in pages if page not in listed]:
        config.nav.append({"More": others})
    return config


def on_files(files: Files, config: Any) -> Files:
    """Take what pages link to outside `docs/` (results, mostly) into the site, at its own place."""
    docs, root = Path(config.docs_dir), Path(config.config_file_path).parent
    waiting = [docs / file.src_uri for file in files if file.src_uri.endswith(".md")]
    while waiting:
        page = waiting.pop()
        for _, up, path, _ in _LINK.findall(page.read_text(encoding="utf-8")):
            target = (page.parent / up / path).resolve()
            if target.is_relative_to(docs) or not target.is_relative_to(root):
                continue
            uri = target.relative_to(root).as_posix()
            if target.is_file() and files.get_file_from_path(uri) is None:
                files.append(File.generated(config, uri, abs_src_path=str(target)))
                waiting += [target] if target.suffix == ".md" else []
    return files


def on_page_markdown(text: str, page: Any, config: Any, files: Files) -> str:
    """Let a link that left `docs/` lead to the file's place in the site; name a folder as code."""
    docs, root = Path(config.docs_dir), Path(config.config_file_path).parent
    source = Path(page.file.abs_src_path)

    def lead(match: re.Match[str]) -> str:
        before, up, path, after = match.groups()
        target = (source.parent / up / path).resolve()
        if target.is_relative_to(docs) or not target.exists() or not target.is_relative_to(root):
            return match[0]
        uri = target.relative_to(root).as_posix()
        if target.is_dir():
            return match[0].replace(up + path, "#")
        if source.is_relative_to(docs):
            return f"{before}{'../' * page.file.src_uri.count('/')}{uri}{after}"
        return match[0]

    return _LINK.sub(lead, text)


def on_page_content(html: str, **_: Any) -> str:
    """Show what docstrings refer to (``:class:`~a.B```) by its last name."""
    return _REFERENCE.sub(r"<code>\1</code>", html)
