"""The dispatch modes' common base."""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class EagerMode(TorchDispatchMode):
    """A dispatch mode that is never compiled, and does without torch's guard against that: the guard costs more than most modes."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class CountingMode(EagerMode):
    """A mode that looks at operators, and has no part in what comes of them.

    It may be told of an operator rather than asked for it: `before` it with its operands, and `after` it with its result.
    """

    def before(self, operands: list[Tensor]) -> None:
        """An operator is about to run on these tensors."""

    def after(self, func: Any, args: Any, kwargs: Mapping[str, Any], result: Any) -> None:
        """It has run."""
        raise NotImplementedError

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.before(tensors_in(args, kwargs))
        result = func(*args, **kwargs)
        self.after(func, args, kwargs, result)
        return result


def tensors_in(args: Iterable[Any], kwargs: Mapping[str, Any] | None = None) -> list[Tensor]:
    """The tensors among an operator's operands or results, also those in its lists: ten times as fast as torch's tree_leaves."""
    found: list[Tensor] = []
    for value in chain(args, kwargs.values()) if kwargs else args:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += tensors_in(value)
    return found
