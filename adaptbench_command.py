"""The command `adaptbench`, by a name that no package of a user's has: `harness` is imported once it is known to be ours."""

import sys
from importlib.util import find_spec
from pathlib import Path

OURS = Path(__file__).resolve().parent / "harness"


def shadow() -> str | None:
    """What is wrong where Python finds another `harness` before ours, with the next step; None where it finds ours."""
    spec = find_spec("harness")
    places = list(spec.submodule_search_locations or [spec.origin or "harness"]) if spec else []
    if OURS in [Path(place).resolve() for place in places]:
        return None
    where = f"'{places[0]}' stands in for it" if places else "it is gone"
    return (
        f"AdaptBench's own package is called 'harness', and {where}: nothing of AdaptBench can be imported.\n"
        "Give that folder another name, or have Python not look for modules in the one that holds it (PYTHONPATH, the folder of "
        "the script or notebook)."
    )


def main() -> None:
    """Entry point of the command. Where Python finds another `harness` before ours, that is one message and exit code 2."""
    if (what := shadow()) is not None:
        print(f"Error: {what}", file=sys.stderr)
        sys.exit(2)
    from harness.__main__ import main as command

    command()


if __name__ == "__main__":
    main()
