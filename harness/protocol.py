"""What a method has to be before anything runs: a frozen dataclass with recipes and `adapt`. No torch here.

What its model has to be and to do is checked where it is made and trained: `harness.training.contract`.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from functools import cache
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from harness.errors import MethodError, did_you_mean, located
from harness.recipe import Recipe

_EXAMPLE = "harness.method has the contract."
_RECIPES = 'recipes: ClassVar[Mapping[str, Recipe]] = {"default": Recipe(epochs=10, learning_rate=0.002)}'
_WORDS = ("family", "needs", "trains")
"""What a method may say of itself, as text."""


def check_method(name: str, method: Any) -> None:
    """Raises MethodError, with the next step, where a plug-in isn't what `harness.method.Method` asks for."""
    _check_class(name, method)
    _check_fields(name, method)
    _check_recipes(name, method)
    _check_adapt(name, method)
    for word in _WORDS:
        if not isinstance(text := getattr(method, word, ""), str):
            raise MethodError(
                f"{word} of '{name}' is {text!r}, and no text.", f'Write {word} = "...", or leave it out.'
            )


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """What reads and checks the fields of a dataclass: of a method, or `Recipe`."""
    return TypeAdapter(kind)


def _check_class(name: str, method: Any) -> None:
    if not isinstance(method, type):
        raise MethodError(
            f"'{name}' is {_what(method)}, and a method is a class.",
            f"Name the frozen dataclass that has `recipes` and `adapt`. {_EXAMPLE}",
        )
    if "__dataclass_fields__" not in vars(method) or not is_dataclass(method):
        model = "; a model is what its `adapt` returns" if hasattr(method, "set_classes") else ""
        raise MethodError(
            f"'{name}' is no dataclass, so that it has no settings{model}.",
            f"Write @dataclass(frozen=True) above 'class {method.__name__}'. {_EXAMPLE}",
        )
    if not method.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise MethodError(
            f"'{name}' is a dataclass that can be changed, and its settings stand in the record.",
            f"Write @dataclass(frozen=True) above 'class {method.__name__}'.",
        )


def _check_fields(name: str, method: Any) -> None:
    own = {f.name: f for f in fields(method)}
    if "recipes" in own:
        raise MethodError(f"the recipes of '{name}' are a field of its own, as a setting is.", f"Write {_RECIPES}")
    for field in own.values():
        if field.init and field.default is MISSING and field.default_factory is MISSING:
            raise MethodError(
                f"the setting '{field.name}' of '{name}' has no default.",
                f"Give it one: {field.name}: {_type_name(field.type)} = ...; others come by --set {field.name}=VALUE.",
            )
    try:
        settings = asdict(method())
    except Exception as error:  # whatever somebody's __post_init__ does
        raise MethodError(
            f"'{name}' can't be made with its defaults: {located(error)}.",
            f"Mend it until {method.__name__}() works.",
        ) from error
    try:
        json.dumps(settings, allow_nan=False)
    except (TypeError, ValueError) as error:
        odd = next(key for key, value in settings.items() if not _is_json(value))
        raise MethodError(
            f"the setting '{odd}' of '{name}' is {settings[odd]!r}, which a record can't hold: {error}.",
            "Settings are numbers, texts, truth values, and lists and tables of them; make the rest of them in `adapt`.",
        ) from None
    try:
        get_type_hints(method)
        adapter(method)
    except Exception as error:
        raise MethodError(
            f"the types of the settings of '{name}' can't be read: {str(error).splitlines()[0]}.",
            "Import what they name at the top of the module, and use types that JSON has.",
        ) from error
    _check_values(name, method, settings, "its defaults")


def _check_values(name: str, method: Any, settings: Mapping[str, Any], whose: str) -> None:
    try:
        adapter(method).validate_python(settings)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise MethodError(
            f"the setting '{where}' of '{name}' is {first['input']!r} in {whose}: {first['msg']}.",
            "Give it a value of its field's type, or the field another type.",
        ) from None


def _check_recipes(name: str, method: Any) -> None:
    recipes = getattr(method, "recipes", None)
    if recipes is None:
        raise MethodError(f"'{name}' has no recipes: nothing says how to train it.", f"Write {_RECIPES}")
    if not isinstance(recipes, Mapping):
        raise MethodError(f"the recipes of '{name}' are {_what(recipes)}, and no table by name.", f"Write {_RECIPES}")
    if "default" not in recipes:
        has = f"; it has {', '.join(map(repr, recipes))}" if recipes else ""
        raise MethodError(
            f"a method's recipes have no row 'default' ('{name}'){has}.",
            'Give it one: recipes = {"default": Recipe(...)}',
        )
    own = {f.name for f in fields(method)}
    for row, recipe in recipes.items():
        if not isinstance(recipe, Recipe):
            raise MethodError(
                f"the row '{row}' of the recipes of '{name}' is {_what(recipe)}, and no Recipe.",
                "Write Recipe(epochs=10, learning_rate=0.002), of harness.recipe.",
            )
        for setting in recipe.settings.keys() - own:
            raise MethodError(
                f"the row '{row}' of the recipes of '{name}' sets '{setting}', which is no field of it.",
                did_you_mean(setting, own),
            )
        if recipe.settings:
            _check_values(name, method, {**asdict(method()), **recipe.settings}, f"the row '{row}' of its recipes")


def _check_adapt(name: str, method: Any) -> None:
    adapt = getattr(method, "adapt", None)
    right = "Write def adapt(self, backbone): ..., which returns an AdaptedModel."
    if not callable(adapt):
        raise MethodError(f"'{name}' has no adapt: nothing makes its model.", right)
    try:
        inspect.signature(method().adapt).bind(None)
    except TypeError:
        raise MethodError(
            f"adapt{inspect.signature(adapt)} of '{name}' can't be called with one backbone.", right
        ) from None


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def _what(thing: Any) -> str:
    """``a function``, ``a module``, ``an object of Mine``."""
    kind = type(thing).__name__
    if kind in ("function", "module", "dict", "list", "tuple", "str", "int", "float"):
        return f"an {kind}" if kind == "int" else f"a {kind}"
    return f"an object of the class {kind}"


def _type_name(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
