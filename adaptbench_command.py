"""The command `adaptbench`, by a name that no package of a user's has: `harness` is imported once it is known to be ours."""

import sys
from importlib.util import find_spec
from pathlib import Path

OURS = Path(__file__).resolve().parent / "harness"


def main() -> None:
    """Entry point of the command. Where PYTHONPATH has another `harness` before ours, that is one message and exit code 2."""
    spec = find_spec("harness")
    places = list(spec.submodule_search_locations or [spec.origin or "harness"]) if spec else []
    if OURS not in [Path(place).resolve() for place in places]:
        where = f"'{places[0]}' stands in for it" if places else "it is gone"
        print(
            f"Error: AdaptBench's own package is called 'harness', and {where}: nothing of AdaptBench can be imported.\n"
            "Give that folder another name, or take the one that holds it out of PYTHONPATH.",
            file=sys.stderr,
        )
        sys.exit(2)
    from harness.__main__ import main as command

    command()


if __name__ == "__main__":
    main()
