"""`python -m bigain_cli`: the command."""

from bigain_cli.cli import main

if __name__ == "__main__":
    main()
