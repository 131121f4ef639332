"""Settings as written: a YAML text and environment variables, read into plain values that remember
where each was written, and what is wrong with them in words that say so."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from reprlib import repr as shortened
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from yaml.constructor import SafeConstructor

KeyPath = tuple[str | int, ...]

PREFIX = "RAG_PLATFORM__"
MAX_DEPTH = 32
SECRETS = "secrets come from the environment only: OPENAI_API_KEY, AWS_*, QDRANT_API_KEY"

_SCALAR_TAGS = {
    f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "timestamp")
}
_COLLECTION_TAGS = {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}


@dataclass(frozen=True, order=True)
class Mark:
    """Where something was written: line and column count from 1; line 0 is "no line", as in an
    environment variable."""

    line: int
    column: int
    name: str

    def __str__(self) -> str:
        return f"{self.name}:{self.line}:{self.column}" if self.line else self.name


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong with the settings; its text is one line and shows no password."""

    mark: Mark
    path: KeyPath
    message: str

    def __str__(self) -> str:
        parts = (str(self.mark), ".".join(map(str, self.path)), self.message)
        return masked(" ".join(": ".join(part for part in parts if part).split()))


@dataclass
class Tree:
    """Plain values (dict, list, scalars) with the mark of every key and list item."""

    name: str
    value: Any = None
    marks: dict[KeyPath, Mark] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def mark(self, path: KeyPath) -> Mark:
        """The mark of `path`, or of the nearest thing around it that was written."""
        lengths = range(len(path), 0, -1)
        written = (self.marks[path[:size]] for size in lengths if path[:size] in self.marks)
        return next(written, Mark(1, 1, self.name))

    def report(self, path: KeyPath, message: str) -> None:
        self.problems.append(Problem(self.mark(path), path, message))


def masked(text: str) -> str:
    """`text` without the passwords of the URLs in it."""
    text = re.sub(r"://([^:@/?#]*):.*@", r"://\1:***@", text)
    return re.sub(r"(?i)((?:password|passwd|pwd)=)[^&\s]*", r"\1***", text)


def read_yaml(text: str, name: str) -> Tree:
    """One YAML document, with every problem in it; a syntax error leaves the value None.

    Only plain values are read: no alias (a few lines of them can unfold to gigabytes), no tag.
    """
    tree = Tree(name)
    try:
        _refuse_aliases_and_depth(text)
        node = yaml.CSafeLoader(text).get_single_node()
    except yaml.YAMLError as error:
        tree.problems.append(_syntax_problem(error, name))
    except UnicodeError:
        tree.report((), "not valid text; save it as UTF-8")
    else:
        tree.value = None if node is None else _plain(node, (), tree)
    return tree


def _refuse_aliases_and_depth(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise _refusal("aliases are not read; write the value out, quote a leading *", event)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise _refusal(f"nested more than {MAX_DEPTH} levels deep", event)


def _refusal(problem: str, event: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


def _syntax_problem(error: yaml.YAMLError, name: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = Mark(mark.line + 1, mark.column + 1, name) if mark else Mark(1, 1, name)
    words = [getattr(error, attribute, None) for attribute in ("context", "problem", "reason")]
    return Problem(
        place, (), "cannot be read as settings: " + ", ".join(word for word in words if word)
    )


def _plain(node: Any, path: KeyPath, tree: Tree) -> Any:
    """The node's value; `tree` takes the marks and problems of what is in it."""
    if node.tag not in _SCALAR_TAGS | _COLLECTION_TAGS:
        tree.report(path, f"the YAML tag {node.tag} is not read; write a plain value")
        return None
    if isinstance(node, yaml.MappingNode):
        return _plain_mapping(node, path, tree)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            tree.marks[*path, index] = _mark(item, tree.name)
        return [_plain(item, (*path, index), tree) for index, item in enumerate(node.value)]
    try:
        value = SafeConstructor().construct_object(node)
    except (yaml.YAMLError, ValueError, KeyError, AttributeError):
        value = node
    # An integer of thousands of digits cannot even be printed.
    if value is node or (isinstance(value, int) and value.bit_length() > 63):
        tree.report(path, f"not a valid {node.tag.rpartition(':')[2]}; quote it if it is text")
        return None
    return value


def _plain_mapping(node: Any, path: KeyPath, tree: Tree) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        mark, key = _mark(key_node, tree.name), key_node.value
        if key_node.tag != "tag:yaml.org,2002:str":
            shown = (*path, key) if isinstance(key, str) else path
            tree.problems.append(Problem(mark, shown, "a name must be text; put it in quotes"))
        elif key in result:
            first = tree.marks[*path, key].line
            message = f"written twice; the first is on line {first}"
            tree.problems.append(Problem(mark, (*path, key), message))
        else:
            tree.marks[*path, key] = mark
            result[key] = _plain(value_node, (*path, key), tree)
    return result


def _mark(node: Any, name: str) -> Mark:
    return Mark(node.start_mark.line + 1, node.start_mark.column + 1, name)


def override(tree: Tree, environ: Mapping[str, str]) -> None:
    """Lays RAG_PLATFORM__SECTION__KEY=value over `tree`, a mapping; values are YAML.

    A shorter name comes first, so that a section may be replaced and then refined.
    """
    for name in sorted(name for name in environ if name.startswith(PREFIX)):
        _override_one(tree, name, environ[name])


def _override_one(tree: Tree, name: str, text: str) -> None:
    mark, parent = Mark(0, 0, name), tree.value
    path: tuple[str, ...] = ()
    *outer, last = name.removeprefix(PREFIX).split("__")
    if not all((*outer, last)):
        message = "a name is empty; write RAG_PLATFORM__SECTION__KEY"
        tree.problems.append(Problem(mark, (), message))
        return
    read = read_yaml(text, name)
    tree.problems += [Problem(mark, problem.path, problem.message) for problem in read.problems]
    if read.problems:
        return
    for part in outer:
        path = (*path, _known(parent, part))
        if parent.get(path[-1]) is None:
            parent[path[-1]] = {}
            tree.marks[path] = mark
        parent = parent[path[-1]]
        if not isinstance(parent, dict):
            message = f"holds a single value; replace it whole with {_variable(path)}"
            tree.problems.append(Problem(mark, path, message))
            return
    path = (*path, _known(parent, last))
    for inner in [other for other in tree.marks if other[: len(path)] == path]:
        del tree.marks[inner]
    tree.marks[path] = mark
    parent[path[-1]] = read.value


def _variable(path: KeyPath) -> str:
    return PREFIX + "__".join(str(key).upper() for key in path)


def _known(parent: dict[str, Any], part: str) -> str:
    """The key of `parent` that `part` spells in any case, else `part` in lower case."""
    return next((key for key in parent if key.lower() == part.lower()), part.lower())


def explain(error: ValidationError, root: type[BaseModel], tree: Tree) -> list[Problem]:
    """What pydantic found in the values of `tree`, validated as `root`, in our words; without
    what `tree` reports already."""
    reported = {(problem.mark, problem.path) for problem in tree.problems}
    found = _explained(error, root, tree)
    return [problem for problem in found if (problem.mark, problem.path) not in reported]


def _explained(error: ValidationError, root: type[BaseModel], tree: Tree) -> Iterator[Problem]:
    for detail in error.errors(include_url=False):
        # A default computed from other fields is left out when one of those is wrong.
        if detail["type"] == "default_factory_not_called":
            continue
        path = tuple(part for part in detail["loc"] if part != "[key]")
        yield Problem(tree.mark(path), path, _message(detail, path, root))


def _message(detail: Any, path: KeyPath, root: type[BaseModel]) -> str:
    kind, given = detail["type"], detail["input"]
    given = masked(given) if isinstance(given, str) else given
    shown = f", not {shortened(given)}" if isinstance(given, int | float | str) else ""
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    if kind == "extra_forbidden":
        return _unknown(str(path[-1]), fields_at(root, path[:-1]))
    if kind == "missing":
        described = fields_at(root, path[:-1])[str(path[-1])].description
        return f"missing; set it: {described}"
    if kind == "literal_error":
        return f"must be {detail['ctx']['expected']}{shown}"
    if kind in ("model_type", "dict_type"):
        return "must be a mapping (key: value)"
    if kind == "tuple_type":
        return "must be a list ([a, b])"
    if kind == "string_type":
        return "must be text" + (", put it in quotes" if shown else "")
    words = (
        str(detail["msg"]).removeprefix("Input should be ").removeprefix("Decimal input should be ")
    )
    return f"must be {words[:1].lower()}{words[1:]}{shown}"


def _unknown(key: str, fields: Mapping[str, Any]) -> str:
    near = get_close_matches(key.lower(), fields, n=1)
    if near:
        return f"unknown setting; did you mean '{near[0]}'?"
    if re.search(r"key|secret|token|password|credential", key.lower()):
        return f"unknown setting; {SECRETS}"
    return f"unknown setting; known here: {', '.join(fields)}"


def fields_at(root: type[BaseModel], path: KeyPath) -> dict[str, Any]:
    """What may be written at `path` below the model `root`: pydantic's FieldInfo by name."""
    kind: Any = root
    for key in path:
        is_model = isinstance(kind, type) and issubclass(kind, BaseModel)
        if is_model:
            kind = kind.model_fields[str(key)].annotation
        else:  # tuple[Model, ...], or dict[str, Model], where the key is a name of the user's own
            kind = get_args(kind)[0 if get_origin(kind) is tuple else 1]
        if type(None) in get_args(kind):
            kind = get_args(kind)[0]
    # The state folder is told by RAG_PLATFORM_HOME, never in the file.
    return {name: told for name, told in kind.model_fields.items() if name != "home"}
