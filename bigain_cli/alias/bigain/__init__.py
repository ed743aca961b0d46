"""`import bigain`: the public names of `bigain_cli` under the distribution's own name, and nothing else."""

from typing import TYPE_CHECKING

from bigain_cli import __version__ as __version__

if TYPE_CHECKING:
    from bigain_cli import *  # noqa: F403
else:
    from bigain_cli import __dir__ as __dir__
    from bigain_cli import __getattr__ as __getattr__
