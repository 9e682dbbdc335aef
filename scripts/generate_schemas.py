"""Generate the object table, the stream schemas and the sandbox's spec from the official `stripe` package.

`python scripts/generate_schemas.py` writes them, `--check` says which are out of date and exits with 1.
The schemas' properties have a `description`, which the catalog shows too, and annotations, which it does not:

* `x-field`: the Stripe field, where the column has another name;
* `x-kind`: `milliseconds` or `currency`, where the JSON type does not say it;
* `x-references`: the tables whose `id` the column holds, of one of them if there are several.

Each schema also has the `x-area` of the product that its table belongs to.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import descriptions
import stripe_facts as facts
from stripe_library import Shape, StripeLibrary, is_amount, package_path

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "tap_stripe_events" / "object_table.py"
SCHEMAS = ROOT / "tap_stripe_events" / "schemas"
SPEC = ROOT / "stripe_sandbox" / "spec.json"

# Never stored: contract rule 3. (`data` of an event is cleaned when it is read.)
SECRETS = {
    "client_secret": None,
    "confirmation_secret": None,
    "secret": {"webhook_endpoint"},
    "payload": {"apps.secret"},
    "number": {"issuing.card"},
    "cvc": {"issuing.card"},
}
TIME = {"type": ["string", "null"], "format": "date-time"}
# The column of a field with a format; one without has its JSON type.
COLUMNS: dict[str, dict[str, Any]] = {
    "unix-time": TIME,
    "unix-time-ms": {**TIME, "x-kind": "milliseconds"},
    "decimal": {"type": ["number", "null"]},
    "currency": {"type": ["string", "null"], "x-kind": "currency"},
}
# Types whose copies inside hashes are worth keeping, since no list shows all of them.
NESTED_TYPES = frozenset({"payment_method", "source", "card", "bank_account", "discount", "price"})


def stream(name: str) -> str:
    """Return the stream of an object type."""
    return name.replace(".", "_")


class Table:
    """The object table as plain values, joined from the library and the facts."""

    def __init__(self, library: StripeLibrary) -> None:
        self.library = library
        self.lists = [self._list(each) for each in library.operations if each["list"] and each["method"] == "get"]
        self.lists += [self._extra_list(each) for each in facts.EXTRA_LISTS]
        self.lists += [self._extra_list(each) for each in self._by_customer()]
        listed = {name for each in self.lists for name in each["objects"]}
        self.names = sorted(listed | set(facts.ALSO_TABLES))
        self.events = self._events()
        self.announced = {name for objects in self.events.values() for name in objects}
        for each in self.lists:
            each.update(self._permission(each["path"], each["objects"][0]))
            each["hints"] = facts.HINTS.get(each["path"], ()) if each["parent"] is None else ()
            each["asks"] = tuple(self._ask(ask, each["objects"]) for ask in each["asks"])
        self.objects = [self._object(name) for name in self.names]
        unused = descriptions.unused([(name, field) for name in self.names for field in library.objects[name]])
        if unused:
            msg = f"{', '.join(unused)}: described in stripe_words.py, and not there"
            raise SystemExit(msg)

    def _permission(self, path: str, first: str) -> dict[str, Any]:
        """Return what a restricted key needs to read a list, by its path or else by the type of its elements."""
        documented = facts.DOCUMENTED_PERMISSIONS.get(path) or facts.DOCUMENTED_PERMISSIONS.get(first)
        guess = facts.GUESSED_PERMISSIONS.get(path) or facts.GUESSED_PERMISSIONS.get(first)
        return {"permission": documented or guess or "", "guessed": bool(guess and not documented)}

    def _is_dependent(self, name: str) -> bool:
        """Whether rows of a type are embedded in those of another, which a listing shows with them."""
        return any(name in each.values() for each in facts.DEPENDENTS.values())

    def _says_all(self, name: str) -> bool:
        """Whether Stripe announces every change of a type."""
        return name in self.announced and name not in facts.PARTLY_ANNOUNCED

    def _ask(self, ask: dict[str, Any], children: tuple[str, ...]) -> dict[str, Any]:
        silent = not all(self._says_all(name) for name in children)
        return {**ask, "on_event": ask.get("only_events", False) or ask.get("on_event", silent)}

    def _kept_by(self, name: str) -> str:
        """Say what keeps a type's rows up to date.

        That is its events, if they tell all; else it is listed again, with its parents if it is found by these, unless
        they are announced and bring it along.
        """
        if name in facts.KEPT_BY:
            return facts.KEPT_BY[name]
        lists = [each for each in self.lists if name in each["objects"] and each["passes"]]
        if self._is_dependent(name):
            return "sweeps"
        if self._says_all(name) or (not lists and name in self.announced):
            return "events"
        if not lists:
            return "others"
        parents = {
            ask["of"] for each in lists for ask in each["asks"] if not (ask.get("optional") or ask.get("only_events"))
        }
        by_itself = any(each["parent"] is None for each in lists)
        with_silent = any(self._kept_by(parent) == "sweeps" for parent in parents - {name})
        return "sweeps" if by_itself or with_silent or name in facts.SILENT_CHILDREN else "parents"

    def _list(self, operation: dict[str, Any]) -> dict[str, Any]:
        path, params = operation["path"], operation["params"]
        parent, parameter = self._parent(path)
        passes = facts.PASSES.get(path, ({},))
        fixed = {name.partition("[")[0] for each in passes for name in each} | set(facts.FIELD_PARAMETERS.get(path, {}))
        unknown = set(operation["required"]) - fixed - {parameter}
        if passes and unknown:
            msg = f"{path} requires {sorted(unknown)}: say in stripe_facts.py where the values come from"
            raise SystemExit(msg)
        asks: tuple[dict[str, Any], ...] = ()
        if parent and passes:
            asks = facts.ASKS.get(path, ({"of": parent},))
        owned = bool(asks) and path not in facts.BY_PARENT_ONLY
        return {
            "path": path,
            "objects": tuple(operation["objects"]),
            "passes": passes,
            "created": "created" in params,
            "paged": "starting_after" in params,
            "parent": parent,
            "parameter": parameter,
            "parameters": facts.FIELD_PARAMETERS.get(path, {}),
            "asks": asks,
            "owned": owned,
        }

    def _by_customer(self) -> list[dict[str, Any]]:
        """Return the readings of what a customer on a test clock has."""
        ask = {"of": "customer", "signals": ("test_clock",), "optional": True, "on_event": False}
        return [
            {"path": each["path"], "parent": "customer", "parameter": "customer", "asks": (ask,)}
            for each in self.library.operations
            if each["list"]
            and each["method"] == "get"
            and each["params"].get("customer", {}).get("type") == "string"
            and not each["required"]
            and each["path"] not in facts.QUERY_PARENTS
            and each["path"] not in facts.NOT_BY_CUSTOMER
        ]

    def _extra_list(self, extra: dict[str, Any]) -> dict[str, Any]:
        single = "object" in extra
        listed = next((each for each in self.lists if each["path"] == extra["path"]), None)
        if listed is None and not single:
            msg = f"{extra['path']} is neither a list endpoint nor given an object"
            raise SystemExit(msg)
        parent = extra.get("parent")
        return {
            "path": extra["path"],
            "objects": (extra["object"],) if listed is None else listed["objects"],
            "passes": extra.get("passes", ({},)),
            "created": listed is not None and listed["created"],
            "paged": not single,
            "single": single,
            "parent": parent,
            "parameter": extra.get("parameter"),
            "asks": extra.get("asks", ({"of": parent},) if parent else ()),
        }

    def _parent(self, path: str) -> tuple[str | None, str | None]:
        if path in facts.QUERY_PARENTS:
            parameter, _, name = facts.QUERY_PARENTS[path].partition("=")
            return name or parameter, parameter
        if "{" not in path:
            return None, None
        before, _, rest = path.partition("/{")
        parameter = rest.partition("}")[0]
        for each in self.library.operations:
            retrieves = each["method"] == "get" and not each["list"] and len(each["objects"]) == 1
            if retrieves and re.fullmatch(re.escape(before) + r"/\{[^/]*\}", each["path"]):
                return each["objects"][0], parameter
        lists = [each for each in self.library.operations if each["list"] and each["path"] == before]
        if lists:
            return lists[0]["objects"][0], parameter
        msg = f"{path}: no parent found; name it in QUERY_PARENTS"
        raise SystemExit(msg)

    def _events(self) -> dict[str, tuple[str, ...]]:
        found = {}
        for each in self.library.event_types:
            before = each.rpartition(".")[0]
            found[each] = facts.EVENT_OBJECTS.get(each) or facts.EVENT_OBJECTS.get(before) or (before,)
            unknown = [name for name in found[each] if name not in self.library.objects]
            if unknown:
                msg = f"event {each}: no object {unknown}; name it in EVENT_OBJECTS"
                raise SystemExit(msg)
        return found

    def _object(self, name: str) -> dict[str, Any]:
        events = tuple(each for each, objects in self.events.items() if name in objects)
        listed = any(name in each["objects"] and each["passes"] for each in self.lists)
        fields = {field: shape for field, shape in self.library.objects[name].items() if not secret(name, field)}
        reason = facts.INCOMPLETE.get(name)
        if reason is None and not listed and not self._is_dependent(name):
            reason = "not listed"
        return {
            "name": name,
            "key": facts.KEYS.get(name, ("id",)),
            "retrieve": self._retrieve(name),
            "embedded": self._embedded(name, fields),
            "expand": facts.EXPANDED.get(name, ()),
            "dependents": facts.DEPENDENTS.get(name, {}),
            "nested": tuple(path for field, shape in fields.items() for path in self._nested(field, shape)),
            "events": events,
            "deleted_by": tuple(
                each
                for each in events
                if each.endswith(".deleted")
                and each not in facts.NOT_DELETIONS
                and each not in facts.DOUBTFUL_AFTER.get(name, ())
            ),
            "doubtful_after": facts.DOUBTFUL_AFTER.get(name, ()),
            "gone_after": facts.GONE_AFTER.get(name, {}),
            "not_retrieved": facts.NOT_RETRIEVED.get(name, ()),
            "takes_along": facts.TAKES_ALONG.get(name, ()),
            "vanishes_with_it": facts.VANISHES_WITH.get(name, ()),
            "swept_after": name in facts.SWEPT_AFTER,
            "kept_by": self._kept_by(name),
            "partly": facts.PARTLY_ANNOUNCED.get(name, ""),
            "pending": facts.PENDING.get(name),
            "complete": reason is None,
            "incomplete_because": reason,
            "announced": listed or bool(events),
            "independent": name in facts.INDEPENDENT,
            "lasting": name in facts.LASTING,
        }

    def _retrieve(self, name: str) -> tuple[str, ...]:
        """Return the paths of one object; those that only need its id come first, and alone."""
        if name in facts.RETRIEVED_AT:
            return facts.RETRIEVED_AT[name]
        paths = sorted(
            (
                each["path"].rpartition("/")[0] + "/{id}"
                for each in self.library.operations
                if each["method"] == "get" and not each["list"] and each["objects"] == [name]
                if each["path"].endswith("}")
            ),
            key=lambda path: (path.count("{"), path),
        )
        return tuple(paths[:1])

    def _embedded(self, name: str, fields: dict[str, Shape]) -> tuple[dict[str, Any], ...]:
        return tuple(
            {
                "field": path,
                "objects": tuple(inner["objects"]),
                "on_request": inner["nullable"],
                "completed_by": self._completed_by(name, path, set(inner["objects"])),
            }
            for field, shape in fields.items()
            for path, inner in lists_in(field, shape)
        )

    def _completed_by(self, name: str, path: str, objects: set[str]) -> str | None:
        if known := facts.COMPLETED_BY.get(f"{name}.{path}"):
            return known
        for each in self.lists:
            same = each["parent"] == name and each["asks"] and set(each["objects"]) == objects
            if same and each["path"].endswith("/" + path.rpartition(".")[2]):
                return str(each["path"])
        return None

    def _nested(self, path: str, shape: Shape, depth: int = 0) -> list[str]:
        found = []
        if depth and shape["type"] in {"ref", "union"} and set(shape["objects"]) & NESTED_TYPES:
            found.append(path)
        for field, inner in shape.get("fields", {}).items():
            found += self._nested(f"{path}.{field}", inner, depth + 1)
        if "items" in shape:
            found += self._nested(f"{path}[]", shape["items"], depth + 1)
        return found

    def schema(self, name: str) -> dict[str, Any]:
        """Return the JSON Schema of an object's stream: contract rule 3."""
        key = facts.KEYS.get(name, ("id",))
        fields = self.library.objects[name]
        parents = self._parents(name)
        properties: dict[str, Any] = {}
        for field, shape in fields.items():
            if secret(name, field) or shape["type"] == "list" or field in facts.DEPENDENTS.get(name, {}):
                continue
            column, schema = self._column(field, shape)
            properties[column] = schema | self._annotations(name, field, shape, parents)
        for parent in parents:
            field = facts.PARENT_FIELDS.get((name, parent), parent.rpartition(".")[2])
            named = fields.get(field, {}).get("type") in {"string", "expandable"}
            schema = {"type": ["string", "null"]} | ({"x-field": field} if named else {})
            references = [stream(parent)]
            schema |= {
                "x-references": references,
                "description": descriptions.of_parent(references, alone=len(parents) == 1),
            }
            properties.setdefault(f"{stream(parent)}_id", schema)
        account = {"x-references": ["account"], "description": descriptions.of_account_key()}
        for column in key:
            properties[column] = {**properties.get(column, account), "type": "string"}
        properties["_extra"] = {
            "type": ["object", "null"],
            "description": descriptions.sentences(descriptions.EXTRA),
        }
        return {
            "type": "object",
            "description": descriptions.of_table(name),
            "x-area": descriptions.area_of(name),
            "properties": {column: properties.pop(column) for column in key} | properties,
        }

    def _annotations(self, name: str, field: str, shape: Shape, parents: list[str]) -> dict[str, Any]:
        """Return what a column refers to, and what it is."""
        references = [stream(each) for each in self._references(name, field, shape)]
        text = descriptions.of_column(
            name, field, shape, references=references, currency=self._currency(name, field, shape, parents)
        )
        return ({"x-references": references} if references else {}) | {"description": text}

    def _references(self, name: str, field: str, shape: Shape) -> list[str]:
        """Return the types with a table whose ids a field holds.

        A plain text is an id if it is called like a type, first of all like one of the same product.
        """
        if shape["type"] in {"expandable", "ref", "union"}:
            return sorted(
                each for each in shape["objects"] if each in self.names and "id" in facts.KEYS.get(each, ("id",))
            )
        if shape["type"] != "string":
            return []
        if (known := facts.TEXT_REFERENCES.get(f"{name}.{field}", facts.TEXT_REFERENCES.get(field))) is not None:
            return list(known)
        called = (f"{name.partition('.')[0]}.{field}", field, field.replace("_", ".", 1))
        return [each for each in called if each in self.names][:1]

    def _currency(self, name: str, field: str, shape: Shape, parents: list[str]) -> str:
        """Return where the currency of an amount is; empty if the field is none."""
        if not is_amount(field, shape):
            return ""
        columns = [each for each, inner in self.library.objects[name].items() if inner.get("format") == "currency"]
        for each in sorted(columns, key=len, reverse=True):
            if field.startswith(each.removesuffix("currency")):
                return f"column {each}"
        for parent in parents:
            if "currency" in self.library.objects[parent]:
                return f"{stream(parent)}.currency"
        return "a currency that this table does not tell"

    def _parents(self, name: str) -> list[str]:
        parents = [
            each["parent"] for each in self.lists if each.get("owned") and name in each["objects"] and each["passes"]
        ]
        parents += [
            owner
            for owner, fields in self.library.objects.items()
            if owner in self.names
            for field, shape in fields.items()
            for _, inner in lists_in(field, shape)
            if name in inner["objects"]
        ]
        parents += [owner for owner, dependents in facts.DEPENDENTS.items() if name in dependents.values()]
        return sorted(set(parents))

    def _column(self, field: str, shape: Shape) -> tuple[str, dict[str, Any]]:
        kind, form = shape["type"], shape.get("format")
        if kind in {"expandable", "ref", "union"}:
            if any("id" in self.library.objects[each] for each in shape["objects"]):
                return f"{field}_id", {"type": ["string", "null"], "x-field": field}
            return field, {"type": ["object", "null"]}
        if form in COLUMNS:
            return field, dict(COLUMNS[form])
        return field, {"type": ["object" if kind in {"map", "any"} else kind, "null"]}


def lists_in(path: str, shape: Shape) -> list[tuple[str, Shape]]:
    """Return the embedded lists in a field, by their dotted paths."""
    if shape["type"] == "list":
        return [(path, shape)]
    return [found for field, inner in shape.get("fields", {}).items() for found in lists_in(f"{path}.{field}", inner)]


def secret(name: str, field: str) -> bool:
    """Whether a field is never stored."""
    if field not in SECRETS:
        return False
    owners = SECRETS[field]
    return owners is None or name in owners


def literal(kind: str, values: dict[str, Any]) -> str:
    """Return a Python constructor call with the values that differ from the class's defaults."""
    defaults = {
        "key": ("id",),
        "complete": True,
        "announced": True,
        "paged": True,
        "passes": ({},),
        "on_event": True,
        "kept_by": "events",
    }
    rendered = [
        f"{name}={_rendered(name, value)}"
        for name, value in values.items()
        if (value != defaults[name] if name in defaults else value)
    ]
    return f"{kind}({', '.join(rendered)})"


def _rendered(name: str, value: Any) -> str:
    classes = {"asks": "Ask", "embedded": "EmbeddedList"}
    if name in classes:
        return f"({''.join(literal(classes[name], each) + ', ' for each in value)})"
    if name == "passes":
        return f"({''.join(f'_fixed({each!r}), ' for each in value)})"
    if name == "kept_by":
        return f"KeptBy.{value.upper()}"
    if name == "pending":
        column, before, hints = value
        return f"Pending(field={column!r}, value={before!r}, hints=frozenset({hints!r}))"
    return f"_fixed({value!r})" if isinstance(value, dict) else repr(value)


def table_source(table: Table) -> str:
    """Return the text of `object_table.py`, not yet formatted."""
    refreshes = "".join(
        f"{carried!r}: Refresh(of={of!r}, by={by!r}, path={path!r}),\n"
        for carried, (of, by, path) in facts.REFRESHES.items()
    )
    lists = "".join(f"{literal('StripeList', each)},\n" for each in table.lists)
    objects = "".join(f"{each['name']!r}: {literal('StripeObject', each)},\n" for each in table.objects)
    return (
        '"""Generated by scripts/generate_schemas.py: do not edit. `make generate` writes it again."""\n\n'
        "from types import MappingProxyType\n\n"
        "from tap_stripe_events.objects import (\n"
        "    Ask, EmbeddedList, KeptBy, Parameters, Pending, Refresh, StripeList, StripeObject\n"
        ")\n\n\n"
        "def _fixed(parameters: dict[str, str]) -> Parameters:\n"
        "    return MappingProxyType(parameters)\n\n\n"
        f"API_VERSION = {table.library.api_version!r}\n\n"
        f"REFRESHES = MappingProxyType({{\n{refreshes}}})\n\n"
        f"STRIPE_LISTS: tuple[StripeList, ...] = (\n{lists})\n\n"
        f"STRIPE_OBJECTS = MappingProxyType({{\n{objects}}})\n"
    )


def formatted(source: str) -> str:
    """Return Python source as `ruff format` leaves it."""
    command = [sys.executable, "-m", "ruff", "format", "--config", str(ROOT / "pyproject.toml"), "-"]
    return subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout


def sandbox_spec(table: Table) -> dict[str, Any]:
    """Return what the sandbox knows of the API: shapes, lists, operations and events."""
    library = table.library

    def operation(each: dict[str, Any], *names: str) -> dict[str, Any]:
        return {name: each[name] for name in names} | {"object": each["objects"][0] if each["objects"] else None}

    return {
        "api_version": library.api_version,
        "objects": {name: {"fields": marked(fields)} for name, fields in library.objects.items()},
        "lists": [
            {name: each[name] for name in ("path", "objects", "params", "required")}
            for each in library.operations
            if each["list"] and each["method"] == "get"
        ],
        "retrieves": [
            operation(each, "path", "params")
            for each in library.operations
            if not each["list"] and each["method"] == "get"
        ],
        "writes": [operation(each, "method", "path") for each in library.operations if each["method"] != "get"],
        "events": {name: list(objects) for name, objects in table.events.items()},
    }


def marked(fields: dict[str, Shape]) -> dict[str, Shape]:
    """Return shapes with `optional` set where the key is there only on request: nullable lists, and `deleted`."""
    return {
        name: shape | {"optional": name == "deleted" or (shape["type"] == "list" and shape["nullable"])}
        for name, shape in fields.items()
    }


def generated() -> dict[Path, str]:
    """Return every generated file and its text."""
    table = Table(StripeLibrary(package_path()))
    files = {TABLE: formatted(table_source(table))}
    for name in table.names:
        text = json.dumps(table.schema(name), indent=2) + "\n"
        files[SCHEMAS / f"{stream(name)}.json"] = text
    files[SPEC] = json.dumps(sandbox_spec(table), separators=(",", ":"), sort_keys=True) + "\n"
    return files


def main() -> None:
    """Write the files, or compare them."""
    files = generated()
    stale = [path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    extra = [path for path in SCHEMAS.glob("*.json") if path not in files]
    if "--check" in sys.argv[1:]:
        for path in [*stale, *extra]:
            print(f"{path.relative_to(ROOT)} is out of date: run `make generate`")
        sys.exit(1 if stale or extra else 0)
    SCHEMAS.mkdir(exist_ok=True)
    for path in stale:
        path.write_text(files[path], encoding="utf-8")
    for path in extra:
        path.unlink()
    print(f"{len(files)} files, {len(stale)} written, {len(extra)} removed")


if __name__ == "__main__":
    main()
