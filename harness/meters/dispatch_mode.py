"""The dispatch modes' common base."""

from torch.utils._python_dispatch import TorchDispatchMode


class EagerMode(TorchDispatchMode):
    """A dispatch mode that is never compiled, and does without torch's guard against that: the guard costs more than most modes."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False
