"""From a method and a path to the operation of the spec, with the values of the path's placeholders."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

Operation = TypeVar("Operation")


@dataclass(kw_only=True)
class _Node(Generic[Operation]):
    fixed: dict[str, _Node[Operation]] = field(default_factory=dict)
    placeholder: _Node[Operation] | None = None
    operations: dict[str, tuple[Operation, tuple[str, ...]]] = field(default_factory=dict)


class Routes(Generic[Operation]):
    """A tree of path segments. A fixed segment is preferred to a placeholder."""

    def __init__(self) -> None:
        self._root: _Node[Operation] = _Node()

    def add(self, method: str, path: str, operation: Operation) -> None:
        """Register an operation; of two at one place the first one stays."""
        node = self._root
        names = []
        for segment in path.strip("/").split("/"):
            if segment.startswith("{"):
                names.append(segment.strip("{}"))
                node.placeholder = node.placeholder or _Node()
                node = node.placeholder
            else:
                node = node.fixed.setdefault(segment, _Node())
        node.operations.setdefault(method, (operation, tuple(names)))

    def find(self, method: str, path: str) -> tuple[Operation, dict[str, str]] | None:
        """The operation at a path and its placeholders' values, in the path's order."""
        segments = path.strip("/").split("/")
        return self._find(self._root, method, segments, 0, ())

    def _find(
        self, node: _Node[Operation], method: str, segments: list[str], depth: int, values: tuple[str, ...]
    ) -> tuple[Operation, dict[str, str]] | None:
        if depth == len(segments):
            found = node.operations.get(method)
            return (found[0], dict(zip(found[1], values, strict=True))) if found is not None else None
        fixed = node.fixed.get(segments[depth])
        result = self._find(fixed, method, segments, depth + 1, values) if fixed is not None else None
        if result is None and node.placeholder is not None:
            result = self._find(node.placeholder, method, segments, depth + 1, (*values, segments[depth]))
        return result
