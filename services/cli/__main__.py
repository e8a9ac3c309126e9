"""python -m services.cli: the command line without the script `basin`."""

from services.cli.commands import main

if __name__ == "__main__":
    main()
