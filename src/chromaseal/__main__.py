"""``python -m chromaseal``: the command line."""

from chromaseal.entrypoints.cli import main

if __name__ == "__main__":
    main()
