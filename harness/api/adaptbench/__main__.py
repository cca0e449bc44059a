"""``python -m adaptbench``: the command, by a name that no package of a user's has."""

from adaptbench_command import main

main()
