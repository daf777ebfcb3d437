"""Payloads without what their kinds mark as sensitive: each such value is replaced by what it is and how long.

What a schema does not know is redacted as well, and so is what does not fit the type that stands there: a value in the
wrong place may be anything.
"""

# ruff: noqa: RUF001, RUF002  these are the marks of placeholders

import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, RootModel, SecretBytes, SecretStr, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError
from pydantic.fields import FieldInfo

from penstock.schemas.encoding import compact_json
from penstock.schemas.job import job_kinds
from penstock.schemas.sensitive import is_sensitive

#: Levels of objects and lists that are shown.
DEPTH_LIMIT = 32
#: Elements of one list or members of one object that are shown.
ITEMS_LIMIT = 1_000
#: Values of one payload that are shown.
VALUES_LIMIT = 100_000
#: Characters of a member's name, and of a text that is no secret.
_NAME_LIMIT = 200
_TEXT_LIMIT = 10_000

_SECRETS = (SecretStr, SecretBytes)
_SEQUENCES = (list, tuple, set, frozenset, Sequence, Iterable)
_MAPPINGS = (dict, Mapping)


class _Unknown:
    """Stands for a type of which nothing is known: values are redacted, members' names are not."""


class _Secret:
    """Stands for a type that is marked: members' names are shown on the first level alone."""


class _Within:
    """Stands for what is within a marked object: told by type and size, whatever it is."""


_NOT_SHOWN = (_Unknown, _Secret, _Within)


def redact(kind: str, payload: Any) -> Any:
    """JSON values of a payload of `kind`, with placeholders such as `‹text, 23 characters›` for what is sensitive.

    Ids, names and positions stay. Of a kind that is not known all values are redacted. What is deeper than
    `DEPTH_LIMIT` or beyond `ITEMS_LIMIT` is told by its number.
    """
    return _Walk().value(job_kinds().get(kind, _Unknown), payload, 0)


@dataclass(slots=True)
class _Walk:
    left: int = VALUES_LIMIT

    def value(self, annotation: Any, value: Any, depth: int) -> Any:
        """One value, by its type."""
        self.left -= 1
        shape = _shape_of(annotation, value)
        if isinstance(value, Mapping):
            return self._object(shape, value, depth)
        if isinstance(value, (list, tuple)):
            return self._list(shape, value, depth)
        if value is None:
            return None
        return _shown(value) if shape not in _NOT_SHOWN and _fits(annotation, value) else placeholder(value)

    def _object(self, shape: Any, value: Mapping[Any, Any], depth: int) -> Any:
        type_of = _members_of(shape)
        if type_of is None or depth >= DEPTH_LIMIT:
            return placeholder(value)
        shown: dict[str, Any] = {}
        for key, member in value.items():
            if len(shown) >= ITEMS_LIMIT or self.left <= 0:
                shown["…"] = _more(len(value) - len(shown))
                break
            shown[_name(str(key), shown)] = self.value(type_of(str(key)), member, depth + 1)
        return shown

    def _list(self, shape: Any, value: Sequence[Any], depth: int) -> Any:
        type_of = _elements_of(shape)
        if type_of is None or depth >= DEPTH_LIMIT:
            return placeholder(value)
        shown: list[Any] = []
        for place, element in enumerate(value):
            if len(shown) >= ITEMS_LIMIT or self.left <= 0:
                shown.append(_more(len(value) - len(shown)))
                break
            shown.append(self.value(type_of(place), element, depth + 1))
        return shown


def placeholder(value: Any) -> Any:
    """What is shown instead of a value."""
    match value:
        case None:
            return None
        case bool():
            return "‹true or false›"
        case str():
            return f"‹text, {len(value):,} character{'' if len(value) == 1 else 's'}›"
        case int() | float():
            return "‹number›"
        case Mapping():
            return f"‹object of {len(value):,}›"
        case list() | tuple():
            return f"‹list of {len(value):,}›"
        case _:
            return "‹value›"


def _more(number: int) -> str:
    return f"‹{number:,} more›"


def _shown(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _TEXT_LIMIT:
        return f"{value[:_TEXT_LIMIT]}… ‹{len(value) - _TEXT_LIMIT:,} more characters›"
    return value


def _name(key: str, taken: Mapping[str, Any]) -> str:
    """The name of a member; two that begin alike stay two."""
    if len(key) <= _NAME_LIMIT and key not in taken:
        return key
    return f"{key[:_NAME_LIMIT]}… ({len(taken)})"


def _shape_of(annotation: Any, value: Any) -> Any:
    """The type behind marks, names and unions, as far as it says something of this value."""
    while True:
        origin = get_origin(annotation)
        if origin in (Union, types.UnionType):
            behind = _member_of_union(get_args(annotation), value)
        elif origin is Annotated:
            behind, *metadata = get_args(annotation)
            behind = _Secret if is_sensitive(metadata) else behind
        else:
            behind = _behind(annotation)
        if behind is annotation:
            return annotation
        annotation = behind


def _behind(annotation: Any) -> Any:
    """The type that another one stands for; the same one where it stands for itself."""
    if annotation is Any or annotation is object or isinstance(annotation, TypeVar):
        return _Unknown
    if not isinstance(annotation, type):
        return getattr(annotation, "__value__", annotation)  # `type Name = ...`
    if issubclass(annotation, RootModel):
        return _marked(annotation.model_fields["root"])
    return _Secret if issubclass(annotation, _SECRETS) else annotation


def _marked(field: FieldInfo) -> Any:
    """The type of a field, with what is said of it."""
    if is_sensitive(field.metadata):
        return _Secret
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


def _member_of_union(members: tuple[Any, ...], value: Any) -> Any:
    """The one of several types that a value is of; nothing is known where that is doubtful and one is marked."""
    members = tuple(one for one in members if one is not type(None))
    if len(members) == 1:
        return members[0]
    if any(_shape_of(one, value) is _Secret for one in members):
        return _Secret
    fitting = [one for one in members if _fits(one, value)]
    return fitting[0] if len(fitting) == 1 or (fitting and not isinstance(value, (Mapping, list))) else _Unknown


def _members_of(shape: Any) -> Callable[[str], Any] | None:
    """The type of each member of an object by its name; None where its names are not to be shown."""
    if shape is _Within:
        return None
    if shape is _Secret:
        return lambda _: _Within
    if isinstance(shape, type) and issubclass(shape, BaseModel):
        fields = _fields_of(shape)
        return lambda name: fields.get(name, _Unknown)
    if get_origin(shape) in _MAPPINGS:
        _, member = get_args(shape)
        return lambda _: member
    return lambda _: _Unknown


def _elements_of(shape: Any) -> Callable[[int], Any] | None:
    """The type of each element of a list by its place; None where nothing of them is to be shown."""
    if shape in (_Within, _Secret):
        return None
    arguments = get_args(shape)
    if get_origin(shape) is tuple and arguments and arguments[-1] is not Ellipsis:
        return lambda place: arguments[place] if place < len(arguments) else _Unknown
    if get_origin(shape) in _SEQUENCES and arguments:
        return lambda _: arguments[0]
    return lambda _: _Unknown


@lru_cache(maxsize=1_000)
def _fields_of(model: type[BaseModel]) -> Mapping[str, Any]:
    """The type of each member by the names that a producer may give it."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        for given in (name, field.alias, field.validation_alias):
            if isinstance(given, str):
                found[given] = _marked(field)
    return found


def _fits(annotation: Any, value: Any) -> bool:
    """Whether a value is what stands there by the schema, to the letter: a number as text may be a telephone's."""
    try:
        adapter = _adapter(annotation)
    except TypeError:  # what can't be a key is not remembered
        adapter = _adapter.__wrapped__(annotation)
    if adapter is None:
        return False
    try:
        adapter.validate_json(compact_json(value), strict=True)
    except (ValueError, RecursionError):
        return False
    return True


@lru_cache(maxsize=1_000)
def _adapter(annotation: Any) -> TypeAdapter[Any] | None:
    try:
        return TypeAdapter(annotation)
    except (PydanticSchemaGenerationError, PydanticUserError):
        return None
