"""T5Gemma's encoder alone, as PRX's folders hold it: its configuration is the encoder's, not that of the pair.

Must not know networks.
"""

from __future__ import annotations

from transformers.models.t5gemma.configuration_t5gemma import T5GemmaModuleConfig
from transformers.models.t5gemma.modeling_t5gemma import T5GemmaEncoder


class T5GemmaTextEncoder(T5GemmaEncoder):
    """T5Gemma's encoder, read by its own configuration."""

    config_class = T5GemmaModuleConfig
