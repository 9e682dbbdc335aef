"""What the official `stripe` package says about the API, read from its source.

The type hints of the package cannot be evaluated (most are forward references under `TYPE_CHECKING`), so the files are
parsed with `ast`. Three kinds of file matter: resource classes (`OBJECT_NAME`, annotated fields, nested classes),
services (`self._request("get", "/v1/…")` with the parameters' TypedDict) and the parameters themselves.

Everything returned is plain JSON. A field is a *shape*:

    {"type": "string|integer|number|boolean|object|array|map|expandable|ref|list|union|any",
     "nullable": bool, "optional": bool,      # optional: the key itself may be absent
     "format": "unix-time|unix-time-ms|amount|currency|decimal",
     "enum": [...], "fields": {...}, "items": shape, "values": shape, "objects": [names]}
"""

import ast
import importlib.util
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

Shape = dict[str, Any]

# A unix time is recognised by its docstring or its name; these names, and names that end so, are times.
_TIME_NAMES = re.compile("created|updated|date|start|end|expires|timestamp|deadline|eta|as_of|billed_until")
_TIME_ENDINGS = re.compile(
    ".+_(at|on|date|start|end|by|until|time|timestamp|anchor|after|before|attempt|expiry|deadline|release|from|of)"
)
_NOT_TIMES = frozenset({"monthly_anchor", "divide_by"})
_MILLISECOND_TIMES = frozenset({"terminal.reader.last_seen_at"})
_AMOUNT = re.compile(r"(^|_)(amount|balance|cost|fee|net|total|subtotal|price|tax)($|_)")


def package_path() -> Path:
    """Return the folder of the installed `stripe` package."""
    spec = importlib.util.find_spec("stripe")
    if spec is None or spec.origin is None:
        msg = "the stripe package is not installed: run `make install`, which installs the development dependencies"
        raise SystemExit(msg)
    return Path(spec.origin).parent


class StripeLibrary:
    """The v1 objects, operations and event types of one version of the package."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parsed: dict[Path, ast.Module] = {}

    @cached_property
    def api_version(self) -> str:
        """The API version that the package is pinned to."""
        text = (self._path / "_api_version.py").read_text(encoding="utf-8")
        match = re.search(r'CURRENT = "([^"]+)"', text)
        if match is None:
            msg = f"no API version in {self._path / '_api_version.py'}"
            raise SystemExit(msg)
        return match[1]

    @cached_property
    def classes(self) -> dict[str, str]:
        """Module-qualified resource class → object name: `stripe.checkout._session.Session` → `checkout.session`."""
        found = {}
        for module, tree in self._modules():
            for node in tree.body:
                if isinstance(node, ast.ClassDef) and (name := _object_name(node)):
                    found[f"{module}.{node.name}"] = name
        return found

    @cached_property
    def objects(self) -> dict[str, dict[str, Shape]]:
        """Object name → its top-level fields as shapes, for every v1 object type."""
        found = {}
        for module, tree in self._modules():
            names = _imported(tree, module)
            for node in tree.body:
                if isinstance(node, ast.ClassDef) and (name := _object_name(node)):
                    found[name] = self._fields(node, names, owner=name, outer={})
        return dict(sorted(found.items()))

    @cached_property
    def operations(self) -> list[dict[str, Any]]:
        """Every v1 operation: method, path, the object it returns, whether that is a list, and its parameters."""
        found = []
        for file in sorted(self._path.rglob("*_service.py")):
            if "v2" in file.relative_to(self._path).parts:
                continue
            module = self._module_name(file)
            tree = self._parse(file)
            names = _imported(tree, module)
            methods = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
            found.extend(filter(None, (self._operation(each, names) for each in methods)))
        return sorted(found, key=lambda each: (each["path"], each["method"]))

    @cached_property
    def event_types(self) -> list[str]:
        """All snapshot event types."""
        tree = self._parse(self._path / "_event.py")
        for node in ast.walk(tree):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "type":
                return sorted(_literals(node.annotation))
        msg = "no event types in _event.py: the package is laid out differently"
        raise SystemExit(msg)

    def _modules(self) -> Iterator[tuple[str, ast.Module]]:
        for file in sorted(self._path.rglob("_*.py")):
            parts = file.relative_to(self._path).parts
            if file.name == "__init__.py" or file.name.endswith("_service.py"):
                continue
            if parts[0] in {"v2", "params", "events"}:
                continue
            if "OBJECT_NAME: ClassVar[" in file.read_text(encoding="utf-8"):
                yield self._module_name(file), self._parse(file)

    def _module_name(self, file: Path) -> str:
        return "stripe." + ".".join(file.relative_to(self._path).with_suffix("").parts)

    def _parse(self, file: Path) -> ast.Module:
        if file not in self._parsed:
            self._parsed[file] = ast.parse(file.read_text(encoding="utf-8"))
        return self._parsed[file]

    def _fields(
        self,
        node: ast.ClassDef,
        names: dict[str, str],
        *,
        owner: str,
        outer: dict[str, ast.ClassDef],
    ) -> dict[str, Shape]:
        nested = outer | {each.name: each for each in node.body if isinstance(each, ast.ClassDef)}
        decimals = _field_encodings(node)
        fields = {}
        for position, each in enumerate(node.body):
            if not isinstance(each, ast.AnnAssign) or not isinstance(each.target, ast.Name):
                continue
            annotation = ast.unparse(each.annotation)
            if annotation.startswith(("ClassVar", "Type[")):
                continue
            name = each.target.id
            shape = self._shape(each.annotation, names, owner=f"{owner}.{name}", nested=nested)
            docstring = _docstring(node.body, position + 1)
            shape |= _format(name, shape, docstring, path=f"{owner}.{name}", decimal=name in decimals)
            fields[_python_name(name)] = shape
        return fields

    def _shape(self, hint: ast.expr, names: dict[str, str], *, owner: str, nested: dict[str, ast.ClassDef]) -> Shape:
        if isinstance(hint, ast.Constant) and isinstance(hint.value, str):
            hint = ast.parse(hint.value, mode="eval").body
        if isinstance(hint, ast.Subscript):
            return self._generic(hint, names, owner=owner, nested=nested)
        name = ast.unparse(hint)
        scalar = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "Any": "any"}.get(name)
        if scalar:
            return {"type": scalar, "nullable": False}
        if name == "Decimal":  # what the package makes of a decimal string
            return {"type": "string", "nullable": False, "format": "decimal"}
        if name in nested:
            fields = self._fields(nested[name], names, owner=owner, outer=nested)
            return {"type": "object", "nullable": False, "fields": fields}
        return {"type": "ref", "nullable": False, "objects": [self._object(name, names)]}

    def _generic(
        self,
        hint: ast.Subscript,
        names: dict[str, str],
        *,
        owner: str,
        nested: dict[str, ast.ClassDef],
    ) -> Shape:
        kind = ast.unparse(hint.value)
        arguments = hint.slice.elts if isinstance(hint.slice, ast.Tuple) else [hint.slice]

        def inner(argument: ast.expr) -> Shape:
            return self._shape(argument, names, owner=owner, nested=nested)

        if kind == "Optional":
            return inner(arguments[0]) | {"nullable": True}
        if kind == "Literal":
            return _literal(_literals(hint))
        if kind == "Union":
            shapes = [inner(each) for each in arguments]
            if all(each["type"] == "ref" for each in shapes):
                return {"type": "union", "nullable": False, "objects": [each["objects"][0] for each in shapes]}
            return shapes[0]  # Literal[...] | str: a list of values that may grow
        containers = {"List": ("array", "items"), "UntypedStripeObject": ("map", "values")}
        if kind in containers:
            name, part = containers[kind]
            return {"type": name, "nullable": False, part: inner(arguments[0])}
        references = {"ExpandableField": "expandable", "ListObject": "list"}
        if kind in references:
            target = inner(arguments[0])  # an expandable hash may have no resource class of its own
            fields = {"fields": target["fields"]} if "fields" in target else {}
            return {"type": references[kind], "nullable": False, "objects": target.get("objects", []), **fields}
        msg = f"{owner}: a type hint that this script does not know: {ast.unparse(hint)}"
        raise SystemExit(msg)

    def _object(self, class_name: str, names: dict[str, str]) -> str:
        qualified = names.get(class_name, "")
        try:
            return self.classes[qualified]
        except KeyError:
            msg = f"{class_name} ({qualified or 'not imported'}) is not a resource class"
            raise SystemExit(msg) from None

    def _operation(self, node: ast.FunctionDef, names: dict[str, str]) -> dict[str, Any] | None:
        request = next(
            (
                each
                for each in ast.walk(node)
                if isinstance(each, ast.Call) and ast.unparse(each.func) == "self._request" and len(each.args) > 1
            ),
            None,
        )
        if request is None or node.returns is None:
            return None
        method, path = ast.literal_eval(request.args[0]), _path(request.args[1])
        if not path.startswith("/v1/"):
            return None
        returns = node.returns
        if isinstance(returns, ast.Constant):
            returns = ast.parse(str(returns.value), mode="eval").body
        is_list = isinstance(returns, ast.Subscript) and ast.unparse(returns.value) == "ListObject"
        inner = returns.slice if is_list and isinstance(returns, ast.Subscript) else returns
        objects = [
            self._object(each.id, names)
            for each in ast.walk(_unquoted(inner))
            if isinstance(each, ast.Name) and each.id not in {"Union", "SearchResultObject"}
        ]
        parameters, required = self._parameters(node, names)
        return {
            "method": method,
            "path": path,
            "objects": objects,
            "list": is_list,
            "params": parameters,
            "required": required,
        }

    def _parameters(self, node: ast.FunctionDef, names: dict[str, str]) -> tuple[dict[str, Shape], list[str]]:
        hint = next((each.annotation for each in node.args.args if each.arg == "params"), None)
        if hint is None:
            return {}, []
        match = re.search(r"(\w+Params)\b", ast.unparse(hint))
        if match is None:
            msg = f"{node.name}: parameters of an unknown kind: {ast.unparse(hint)}"
            raise SystemExit(msg)
        module, _, class_name = names[match[1]].rpartition(".")
        file = self._path.joinpath(*module.split(".")[1:]).with_suffix(".py")
        parameters, required = {}, []
        for each in self._parse(file).body:
            if not isinstance(each, (ast.ClassDef, ast.Assign)) or getattr(each, "name", "") != class_name:
                continue
            for field in each.body:
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    text = ast.unparse(field.annotation)
                    parameters[_python_name(field.target.id)] = _parameter(text)
                    if not text.startswith("NotRequired"):
                        required.append(_python_name(field.target.id))
        return parameters, required


def _object_name(node: ast.ClassDef) -> str | None:
    for each in node.body:
        if (
            isinstance(each, ast.AnnAssign)
            and isinstance(each.target, ast.Name)
            and each.target.id == "OBJECT_NAME"
            and isinstance(each.value, ast.Constant)
        ):
            return str(each.value.value)
    return None


def _imported(tree: ast.Module, module: str) -> dict[str, str]:
    """Return local name → module-qualified name, for what the file imports and defines."""
    names = {each.name: f"{module}.{each.name}" for each in tree.body if isinstance(each, ast.ClassDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _field_encodings(node: ast.ClassDef) -> set[str]:
    for each in node.body:
        if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "_field_encodings":
            encodings = ast.literal_eval(each.value)
            return {name for name, kind in encodings.items() if kind == "decimal_string"}
    return set()


def _docstring(body: list[ast.stmt], position: int) -> str:
    following = body[position] if position < len(body) else None
    if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
        return str(following.value.value)
    return ""


def _format(name: str, shape: Shape, docstring: str, *, path: str, decimal: bool) -> Shape:
    if decimal:
        return {"format": "decimal"}
    if shape["type"] == "string" and (name == "currency" or name.endswith("_currency")):
        return {"format": "currency"}
    if shape["type"] == "integer":
        if path in _MILLISECOND_TIMES:
            return {"format": "unix-time-ms"}
        named = _TIME_NAMES.fullmatch(name) or _TIME_ENDINGS.fullmatch(name)
        if (named or "timestamp" in docstring.lower()) and name not in _NOT_TIMES:
            return {"format": "unix-time"}
        if _AMOUNT.search(name):
            return {"format": "amount"}
    return {}


def is_amount(name: str, shape: Shape) -> bool:
    """Whether a field is an amount of money: a whole number, or a decimal with a fraction of the smallest unit."""
    is_decimal = shape.get("format") == "decimal" and _AMOUNT.search(name) is not None
    return is_decimal or shape.get("format") == "amount"


def _literals(hint: ast.expr) -> list[Any]:
    return [each.value for each in ast.walk(hint) if isinstance(each, ast.Constant)]


def _literal(values: list[Any]) -> Shape:
    if all(isinstance(each, bool) for each in values):
        return {"type": "boolean", "nullable": False, "enum": values}
    return {"type": "string", "nullable": False, "enum": values}


def _parameter(hint: str) -> Shape:
    """Return the coarse shape of a request parameter: enough to know ranges, arrays and values."""
    text = hint.removeprefix("NotRequired[").strip('"')
    shape: Shape = {"type": "object"}
    if "List[" in text:
        shape = {"type": "array"}
    elif re.search(r"\|int\b", text) and "Params" in text:
        shape = {"type": "range"}
    elif "Literal" in text or re.search(r"\bstr\b", text):
        shape = {"type": "string"}
    elif re.search(r"\bint\b", text):
        shape = {"type": "integer"}
    elif re.search(r"\bbool\b", text):
        shape = {"type": "boolean"}
    elif re.search(r"\bfloat\b", text):
        shape = {"type": "number"}
    if values := re.findall(r"'([^']*)'", text):
        shape["enum"] = values
    return shape


def _path(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):  # "…".format(id=sanitize_id(id))
        return str(ast.literal_eval(node.func.value))
    msg = f"a request path of an unknown kind: {ast.unparse(node)}"
    raise SystemExit(msg)


def _unquoted(node: ast.expr) -> ast.expr:
    if isinstance(node, ast.Constant):
        return ast.parse(str(node.value), mode="eval").body
    return node


def _python_name(name: str) -> str:
    """Undo the underscore that keeps a field such as `from` from being a Python keyword."""
    return name.removesuffix("_")
