"""Read labels: a text, CSV or JSON file, a preset or an inline list in; labels with their prompts out.

Empty, duplicate or undecodable labels are usage errors that name the file and the line. Must not know tensors.
"""

from bigain_cli.labels.label_files import Label
from bigain_cli.labels.label_sets import INLINE_LIST, LabelSet, presets, read_labels
from bigain_cli.labels.templates import DEFAULT_TEMPLATE, prompts_for

__all__ = ["DEFAULT_TEMPLATE", "INLINE_LIST", "Label", "LabelSet", "presets", "prompts_for", "read_labels"]
