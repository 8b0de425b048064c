"""Pages as tests read them: blocks of code, the commands in them, and what stands beside a block.

HTML comments, which readers do not see, say how a block is run:

- ``<!-- examples: given data/mine -->``: what is there before the page's first block; see `stage`.
- ``<!-- examples: quick -->``: the page is run with the default tests.
- ``<!-- example: only checked, REASON -->``: the next block is not run; its commands must parse.
- ``<!-- example: with "15m" as "20s" -->``: words that the next block is run with instead.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import re
import shlex
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(r"((?:^<!--[^\n]*-->\n)*)^```(\w*)\n(.*?)^```$", re.M | re.S)
_WITH = re.compile(r"""(["`])(.+?)\1 as (["`])(.*?)\3""")


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block: its language ("" for none), content, and why it is only checked, if it is."""

    language: str
    content: str
    unrun: str = ""
    instead: tuple[tuple[str, str], ...] = ()

    @property
    def as_run(self) -> str:
        """The content with the words that it is run with.

        Raises:
            ValueError: a word that is to be replaced does not occur.
        """
        text = self.content
        for word, other in self.instead:
            if word not in text:
                raise ValueError(f"'{word}' is not in the block that it is to be replaced in")
            text = text.replace(word, other)
        return text


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(text: str, *languages: str) -> list[Block]:
    """Every block of these languages, in order.

    Raises:
        ValueError: a comment is none of those above, or stands before no block.
    """
    found, heeded = [], 0
    for comments, language, content in _FENCE.findall(text):
        said = re.findall(r"<!-- example: (.*) -->", comments)
        heeded += len(said)
        unrun, instead = "", []
        for words in said:
            if words.startswith("only checked, "):
                unrun = words.removeprefix("only checked, ")
            elif words.startswith("with ") and (pairs := _WITH.findall(words)):
                instead += [(pair[1], pair[3]) for pair in pairs]
            else:
                raise ValueError(f"'{words}' says not how the example is run")
        if language in languages:
            found.append(Block(language, content, unrun, tuple(instead)))
    if heeded != text.count("<!-- example: "):
        raise ValueError("a comment on an example stands before no block")
    return found


def given(text: str) -> list[str]:
    """What must be there before the first block of a page."""
    return [
        name
        for line in re.findall(r"<!-- examples: given (.*) -->", text)
        for name in line.split(", ")
    ]


def is_quick(text: str) -> bool:
    return "<!-- examples: quick -->" in text


def command_lines(text: str) -> list[list[str]]:
    """Arguments of every ``serplatform`` command in bash blocks, through ``ray submit`` too."""
    found = []
    for block in blocks(text, "bash"):
        for line in re.sub(r"\\\n\s*", " ", block.content).splitlines():
            plain = re.sub(r"(^|\s)#.*|\s[<>]+\s*\S+", "", line)
            for part in re.split(r"&&|[|;]", plain):
                words = [word for word in shlex.split(part) if word != "!"]
                if words and Path(words[0]).name == "serplatform":
                    found.append(words[1:])
                elif words[:2] == ["ray", "submit"]:
                    found.append(words[words.index("--") + 1 :])
    return found


@functools.cache
def _group() -> Any:
    import typer

    from serplatform.cli.main import app

    return typer.main.get_command(app)


def parse(arguments: list[str]) -> tuple[str, dict[str, Any]]:
    """Parse a command line as the program would, without running the command."""
    group = _group()
    if arguments[0].startswith("-"):  # it acts as soon as it is parsed
        known = {name for parameter in group.params for name in parameter.opts}
        assert arguments[0] in known, arguments[0]
        return arguments[0], {"option": arguments[0]}
    context = group.make_context("serplatform", list(arguments), resilient_parsing=False)
    name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
    return name, command.make_context(name, rest, parent=context).params


def unknown_calls(text: str) -> list[str]:
    """What a Python block calls of ``sp``, or with which keyword, that ``sp`` does not have."""
    import inspect

    import serplatform as sp
    from serplatform.api.results import CallOptions

    wrong = []
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Attribute)
            and ast.unparse(node.value) == "sp"
            and node.attr not in sp.__all__
        ):
            wrong.append(ast.unparse(node))
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("sp."):
            function = getattr(sp, ast.unparse(node.func)[3:], None)
            if function is None or inspect.isclass(function):
                continue
            known = {*inspect.signature(function).parameters, *CallOptions.__annotations__}
            wrong += [
                f"{ast.unparse(node.func)}({k.arg}=)"
                for k in node.keywords
                if k.arg is not None and k.arg not in known
            ]
    return wrong
