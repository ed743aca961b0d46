"""Write records: plain dicts as `Ranking.to_dict` returns them in, UTF-8 bytes out.

Each format is a writer in the module that the registry names; files and resuming are beside them. Knows no networks.
"""

from bigain_cli.outputs.output_format import Layout, OutputFormat

__all__ = ["Layout", "OutputFormat"]
