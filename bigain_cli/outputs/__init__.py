"""Write records: plain dicts as `Ranking.to_dict` gives them in, UTF-8 bytes out.

One sink a format, each in the module that the registry names; files and resuming beside them. Must not know networks.
"""

from bigain_cli.outputs.sink import Layout, Sink

__all__ = ["Layout", "Sink"]
