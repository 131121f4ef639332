"""Answers of a known form: a strict JSON schema from a pydantic model, and the way back."""

import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

M = TypeVar("M", bound=BaseModel)

_MOST_CHARS = 1_000_000
_MOST_DEPTH = 32
_MOST_ERRORS = 10
_ERROR_CHARS = 200

# What services take in a strict schema. Limits (lengths, ranges, patterns) are left to pydantic:
# not every service knows them, and all of them are checked again here.
_KEPT = ("type", "enum", "description")
_IGNORED = frozenset(
    {
        *("title", "default", "examples", "format", "pattern", "required", "discriminator"),
        *("minLength", "maxLength", "minItems", "maxItems", "uniqueItems", "multipleOf"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    }
)
_THOUGHTS = re.compile(r"\s*<think>.*?(?:</think>|\Z)", re.DOTALL)
_BRACKET = re.compile(r"[{}\[\]]")
# What fits a column of 64 bits; infinity does not.
_MOST = 2**63
_CONTROL = dict.fromkeys(set(range(32)) - {9, 10, 13})


class Unfit(ValueError):
    """An answer that is not of the form. `problems` are for the model, `kinds` for a log.

    The kinds name fields of the schema and types of error, and nothing of the answer.
    """

    def __init__(self, problems: list[str], kinds: list[str]) -> None:
        super().__init__("; ".join(kinds))
        self.problems = problems
        self.kinds = kinds


def schema_name(model: type[BaseModel]) -> str:
    """The model's name as services take it: at most 64 letters, digits, `_` and `-`."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", model.__name__)[:64]


def strict_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The model's JSON schema in the strict subset: every field required, no further ones.

    Raises `ValueError` for a model that the subset cannot say, such as one with free keys.
    """
    whole = model.model_json_schema()
    schema = _strict(whole, model.__name__)
    if definitions := whole.get("$defs"):
        schema["$defs"] = {
            name: _strict(definition, name) for name, definition in definitions.items()
        }
    return schema


def _strict(schema: Mapping[str, Any], where: str) -> dict[str, Any]:
    if "$ref" in schema:
        return {"$ref": schema["$ref"]}
    strict = {key: schema[key] for key in _KEPT if key in schema}
    if "const" in schema:
        strict["enum"] = [schema["const"]]
    if options := schema.get("anyOf", schema.get("oneOf")):
        strict["anyOf"] = [_strict(option, where) for option in options]
    if schema.get("type") == "object":
        strict |= _strict_object(schema, where)
    if schema.get("type") == "array":
        if "items" not in schema or "prefixItems" in schema:
            raise ValueError(f"{where}: a strict schema needs lists with items of one kind")
        strict["items"] = _strict(schema["items"], where)
    known = {"const", "anyOf", "oneOf", "properties", "additionalProperties", "items", "$defs"}
    if unknown := schema.keys() - _IGNORED - known - set(_KEPT):
        raise ValueError(f"{where}: {', '.join(sorted(unknown))} has no place in a strict schema")
    if not strict.keys() & {"type", "enum", "anyOf"}:
        raise ValueError(f"{where}: a strict schema needs a type for every field")
    return strict


def _strict_object(schema: Mapping[str, Any], where: str) -> dict[str, Any]:
    if isinstance(schema.get("additionalProperties"), dict) or "properties" not in schema:
        raise ValueError(f"{where}: a strict schema has no free keys")
    fields = schema["properties"]
    return {
        "properties": {name: _strict(part, f"{where}.{name}") for name, part in fields.items()},
        "required": list(fields),
        "additionalProperties": False,
    }


def parse(text: str, model: type[M]) -> M:
    """The answer as the model. Raises `Unfit`.

    Of an answer that says more than one JSON object (a code fence, thoughts, a friendly word) the
    object is taken, where no bracket around it leaves any doubt which that is. Control characters,
    which no database and no page has a use for, are taken out of strings.
    """
    if len(text) > _MOST_CHARS:
        raise _not_json("it is too long")
    try:
        value = _clean(_only_object(text), _MOST_DEPTH)
    except json.JSONDecodeError as error:
        raise _not_json(f"{error.msg} at character {error.pos}") from None
    except (ValueError, RecursionError):
        raise _not_json(
            "it is nested too deeply, has a key twice, or a number that JSON or 64 bits have not"
        ) from None
    try:
        return model.model_validate(value, strict=False)
    except ValidationError as error:
        raise _unfit(error, model) from None


def object_start(text: str) -> int:
    """Where the object of an answer begins, or -1; the thoughts of a model that shows them pass."""
    return text.find("{", _end_of_thoughts(text))


def _end_of_thoughts(text: str) -> int:
    found = _THOUGHTS.match(text)
    return found.end() if found else 0


def _only_object(text: str) -> Any:
    """The object in an answer. Raises `ValueError`."""
    start = object_start(text)
    if start < 0:
        raise json.JSONDecodeError("No object", text, len(text))
    value, end = _DECODER.raw_decode(text, start)
    bracket = _BRACKET.search(text, _end_of_thoughts(text), start) or _BRACKET.search(text, end)
    if bracket:
        raise json.JSONDecodeError("More than one object", text, bracket.start())
    return value


def _without_doubt(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key twice")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


_DECODER = json.JSONDecoder(object_pairs_hook=_without_doubt, parse_constant=_refuse_constant)


def _not_json(problem: str) -> Unfit:
    return Unfit([f"The answer is not JSON: {problem}"], ["not JSON"])


def _clean(value: Any, depth: int) -> Any:
    if depth < 0:
        raise RecursionError
    if isinstance(value, str):
        # A half of a surrogate pair is no character and cannot be stored.
        return value.translate(_CONTROL).encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_clean(item, depth - 1) for item in value]
    if isinstance(value, dict):
        return {_clean(key, 0): _clean(item, depth - 1) for key, item in value.items()}
    if isinstance(value, int | float) and not -_MOST <= value < _MOST:
        raise ValueError("too large a number")
    return value


def _unfit(error: ValidationError, model: type[BaseModel]) -> Unfit:
    """The first errors; of the kinds, only words that the code has."""
    problems, kinds = [], []
    for entry in error.errors(include_url=False, include_context=False, include_input=False)[
        :_MOST_ERRORS
    ]:
        place = ".".join(map(str, entry["loc"])) or "(whole)"
        problems.append(f"{place}: {entry['msg']}"[:_ERROR_CHARS])
        first = entry["loc"][0] if entry["loc"] else "(whole)"
        known = first == "(whole)" or first in model.model_fields
        kinds.append(f"{first if known else '(unknown field)'}: {entry['type']}")
    return Unfit(problems, kinds)


def repair_message(unfit: Unfit, schema: Mapping[str, Any]) -> dict[str, str]:
    """The turn that asks for the answer again: what was wrong, and the schema in words.

    The wrong answer is not sent back: it may hold what a document told the model to say.
    """
    problems = "\n".join(f"- {problem}" for problem in unfit.problems)
    return {
        "role": "user",
        "content": "An answer to this was not of the form that was asked for:\n"
        f"{problems}\nAnswer again with one JSON object and nothing else. It must fit this JSON "
        f"schema:\n{json.dumps(schema)}",
    }
