"""The command: a thin last layer that parses options, calls the library and passes records to an output."""

from bigain_cli.cli.exit_codes import main as main
