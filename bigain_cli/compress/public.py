"""The public names of `compress`, written here alone."""

from bigain_cli.compress.operators import OPERATORS as OPERATORS
from bigain_cli.compress.patching import Compression as Compression
from bigain_cli.compress.patching import apply as apply
from bigain_cli.compress.patching import compressed as compressed
from bigain_cli.compress.report import Report as Report
from bigain_cli.compress.site import Site as Site
from bigain_cli.compress.sites import sites_of as sites_of
from bigain_cli.compress.spec import Spec as Spec
from bigain_cli.compress.spec import Term as Term
from bigain_cli.compress.spec import parse as parse
