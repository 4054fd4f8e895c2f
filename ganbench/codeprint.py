"""What code a component runs, as a hash that comments, docstrings and blank lines do not change."""

from __future__ import annotations

import ast
import functools
import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

from ganbench.component import Component, digest

ENGINE = 1
"""Version of the core's numerics; raise it when a step, a stream or a measure of the core changes its numbers."""


def fingerprint(components: Iterable[Component]) -> dict[str, str]:
    """For each distinct component class, the hash of the code it runs; ``engine`` is the core's own version."""
    found = {"engine": str(ENGINE)}
    for component in components:
        found[f"{component.role}:{component.name}"] = of_class(type(component))
        nested = [v for v in vars(component).values() if isinstance(v, Component)]
        found |= {k: v for k, v in fingerprint(nested).items() if k != "engine"}
    return found


def combined(parts: dict[str, str]) -> str:
    """One hash of all the parts."""
    return digest(parts, 12)


_HASHES: dict[type[Component], str] = {}
"""What :func:`of_class` has computed: code does not change under a running process."""


def of_class(cls: type[Component]) -> str:
    """Hash of the module of ``cls`` without the other components in it, and of the local modules it imports."""
    if cls not in _HASHES:
        _HASHES[cls] = _hash(cls)
    return _HASHES[cls]


def _hash(cls: type[Component]) -> str:
    module = sys.modules.get(cls.__module__)
    file = Path(getattr(module, "__file__", None) or "")
    if not file.is_file():
        return "unknown"
    keep = {base.__name__ for base in cls.__mro__}
    siblings = {
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Component) and name not in keep
    }
    tree = _parse(file)
    tree.body = [n for n in tree.body if not (isinstance(n, ast.ClassDef) and n.name in siblings)]
    texts = [_dump(tree)]
    root = _root(cls.__module__, file)
    texts += [_whole(path) for path in sorted(_local_imports(file, root, set()))]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


def _root(module: str, file: Path) -> Path:
    """The folder within which imports count as local: that of the top package, or of the file."""
    return file.parents[module.count(".") - 1] if "." in module else file.parent


def _local_imports(file: Path, root: Path, seen: set[Path]) -> set[Path]:
    """Files under ``root`` that ``file`` imports, directly or through others."""
    for name in _imported(file):
        for path in (root / f"{name.replace('.', '/')}.py", root.parent / f"{name.replace('.', '/')}.py"):
            found = path.resolve()
            if found.is_file() and found != file and found not in seen and found.is_relative_to(root):
                seen.add(found)
                _local_imports(found, root, seen)
    return seen


@functools.cache  # several components of a module ask, and code does not change under a running process
def _imported(file: Path) -> tuple[str, ...]:
    """Names that may be of modules which ``file`` imports."""
    names: list[str] = []
    left: list[ast.AST] = [_parse(file)]
    for node in left:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [node.module] if node.module else []
            before = f"{node.module}." if node.module else ""
            names += [f"{before}{alias.name}" for alias in node.names]
        else:  # an import is a statement, and expressions hold none
            left += [n for n in ast.iter_child_nodes(node) if not isinstance(n, ast.expr)]
    return tuple(dict.fromkeys(names))


@functools.cache  # as above
def _whole(file: Path) -> str:
    return _dump(_parse(file))


def _parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _dump(tree: ast.Module) -> str:
    """The tree as text, without docstrings and positions."""
    left: list[ast.AST] = [tree]
    for node in left:
        left += [n for n in ast.iter_child_nodes(node) if not isinstance(n, ast.expr)]
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and body:
            match body[0]:
                case ast.Expr(value=ast.Constant(value=str())):
                    node.body = body[1:] or [ast.Pass()]
    return _text(tree)


def _text(value: object) -> str:
    """What ``ast.dump`` says in Python 3.11: later ones have other fields or leave some out, and a hash is for all."""
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    if not isinstance(value, ast.AST):
        return repr(value)
    fields = [
        f"{name}={_text(part)}"
        for name, part in ast.iter_fields(value)
        # an optional field that is not there, and type parameters, which 3.12 brought
        if not (part is None and getattr(type(value), name, ...) is None) and (part or name != "type_params")
    ]
    return f"{type(value).__name__}({', '.join(fields)})"
