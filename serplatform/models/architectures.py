"""The registered architectures: what each is called, its settings and how it is built.

Nothing here imports torch, which takes longer than all that a command checks before it trains:
as long as nobody else has imported it, :data:`ARCHITECTURES` evaluates of the package's files
what they declare, and not the networks.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import dataclasses
import functools
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serplatform.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputSpec:
    """What the data give a model.

    Attributes:
        feature_dim: D.
        num_classes: K.
        frame_shift: seconds.
        vocabulary_size: word ids, padding and unknown included; 0 without text.
        word_vector_dim: E of the contextual vectors of a batch's words; 0 without.
        word_vectors: (V, E) initial vectors, or None.
        layers: equal parts of a frame whose weighted sum a model is given, see ``front.py``.
        projection: values that a frame is then projected to; 0: it is not.
    """

    feature_dim: int
    num_classes: int
    frame_shift: float = 0.01
    vocabulary_size: int = 0
    word_vectors: Tensor | None = None
    word_vector_dim: int = 0
    layers: int = 1
    projection: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """A registered architecture.

    Attributes:
        name: its id, e.g. ``moma``.
        config: its configuration dataclass (fields made by ``config.setting``); the
            defaults are the paper's settings.
        build: (config, input spec) to a ``SerModel``.
        reference: the work it follows, with equation numbers; None where it follows none.
        training: the paper's training settings where they differ from TrainingConfig's
            defaults, e.g. ``{"learning_rate": 1e-4, "scheduler": "plateau"}``.
        data: the paper's data settings where they differ from DataConfig's defaults, e.g.
            ``{"feature": "log_mel_23"}``.
        inputs: any of ``"audio"``, ``"text"``, ``"words"`` (word spans over frames).
        small: configuration fields and values that shrink the model for tests and smoke runs,
            e.g. ``{"hidden_dim": 16}``.
        space: what a search varies, as in a search space's file; where neither it nor a file is
            there, it is made of the ranges of ``config``.
        encoder: the field of ``config`` that names a pretrained encoder whose weights the model
            adapts; it has no default, and ``all`` leaves the architecture out where it is not
            set. None where there is none.
        closed_form: ``build`` makes a ``ClosedFormModel``.
    """

    name: str
    config: type
    build: Callable[[Any, InputSpec], Any]
    reference: str | None = None
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    inputs: frozenset[str] = frozenset({"audio"})
    small: Mapping[str, object] = dataclasses.field(default_factory=dict)
    space: Mapping[str, object] | None = None
    encoder: str | None = None
    closed_form: bool = False


class _Architectures(Registry[Architecture]):
    """Until torch is imported, built-in members are what their files declare."""

    def __init__(self) -> None:
        super().__init__("architecture", "serplatform.models")
        self._declared: set[str] = set()

    def register(self, name: str, source: str = "") -> Callable[[Architecture], Architecture]:
        """See ``Registry``; a built-in file that is imported replaces what was read of it."""
        if name in self._declared and self._is_built_in(source):
            self._declared.remove(name)
            del self._members[name]
        return super().register(name, source)

    def _load_built_in(self) -> None:
        if "torch" in sys.modules:
            super()._load_built_in()
        elif not self._declared:
            for file in sorted(Path(__file__).parent.glob("*.py")):
                module = f"{self.package}.{file.stem}"
                for declared in _declarations(module, self._build):
                    self._members[declared.name] = declared
                    self._sources[declared.name] = module
                    self._declared.add(declared.name)

    def _build(self, name: str, module: str, config: Any, spec: InputSpec) -> Any:
        importlib.import_module(module)
        return self.get(name).build(config, spec)


ARCHITECTURES: Registry[Architecture] = _Architectures()


class _File:
    """A file of the package, of which single names are evaluated, with what they need.

    Args:
        module: its dotted name.
    """

    def __init__(self, module: str) -> None:
        below = module.removeprefix(f"{__package__}.").replace(".", "/")
        self.path = Path(__file__).parent / f"{below}.py"
        self.text = self.path.read_text(encoding="utf-8")
        self._values: dict[str, Any] = {"__name__": module}
        self._begun: set[str] = set()  # a class may name itself

    @functools.cached_property
    def nodes(self) -> dict[str, ast.stmt]:
        """The statement that binds each name at the file's top."""
        found: dict[str, ast.stmt] = {}
        for node in ast.parse(self.text, str(self.path)).body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                found[node.name] = node
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                found |= {alias.asname or alias.name: node for alias in node.names}
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found |= {target.id: node for target in targets if isinstance(target, ast.Name)}
        return found

    def evaluate(self, expression: ast.expr) -> Any:
        """The value of an expression of the file."""
        self._bind_names_in(expression)
        code = compile(ast.Expression(expression), str(self.path), "eval")
        return eval(code, self._values)  # noqa: S307 - a file of this package

    def bind(self, name: str) -> Any:
        """The value of a name of the file."""
        node = self.nodes.get(name)
        if name in self._begun or node is None:
            return self._values.get(name, getattr(builtins, name, None))
        self._begun.add(name)
        if isinstance(node, ast.ImportFrom):
            home = str(node.module)
            original = next(a.name for a in node.names if name in (a.asname, a.name))
            if home.startswith(f"{__package__}."):
                self._values[name] = _file(home).bind(original)
            else:
                self._values[name] = getattr(importlib.import_module(home), original)
            return self._values[name]
        if not isinstance(node, ast.Import):
            self._bind_names_in(node)
        # annotations of functions may be of torch's types; those of settings are read
        flags = 0 if isinstance(node, ast.ClassDef) else __future__.annotations.compiler_flag
        code = compile(ast.Module([node], []), str(self.path), "exec", flags, dont_inherit=True)
        exec(code, self._values)  # noqa: S102 - a file of this package
        return self._values[name]

    def _bind_names_in(self, tree: ast.AST) -> None:
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                self.bind(node.id)

    def is_a(self, name: str, ancestor: str) -> bool:
        """Whether a class of the file is, or inherits from, one of a name."""
        node = self.nodes.get(name)
        if name == ancestor or node is None:
            return name == ancestor
        if isinstance(node, ast.ImportFrom):
            home = str(node.module)
            return home.startswith(f"{__package__}.") and _file(home).is_a(name, ancestor)
        bases = node.bases if isinstance(node, ast.ClassDef) else []
        return any(isinstance(base, ast.Name) and self.is_a(base.id, ancestor) for base in bases)


_file = functools.cache(_File)


def _declarations(module: str, build: Callable[..., Any]) -> Iterator[Architecture]:
    """What a file registers by the decorator ``architecture``."""
    file = _file(module)
    if "\n@architecture(" not in file.text:
        return
    classes = [node for node in file.nodes.values() if isinstance(node, ast.ClassDef)]
    for node in classes:
        for call in node.decorator_list:
            if not (isinstance(call, ast.Call) and ast.unparse(call.func) == "architecture"):
                continue
            name, config = map(file.evaluate, call.args)
            yield Architecture(
                name=name,
                config=config,
                build=functools.partial(build, name, module),
                closed_form=file.is_a(node.name, "ClosedFormModel"),
                **{str(word.arg): file.evaluate(word.value) for word in call.keywords},
            )
