"""``python -m orbistem``: the command line, where the command ``orbistem`` is not on the path."""

from orbistem.cli import main

if __name__ == "__main__":  # a process that is spawned imports this file, and shall do nothing else
    main()
