"""`compressed(pipeline, spec)` on diffusers' pipelines of SDXL, PixArt, SD3, FLUX, Chroma and PRX."""

from __future__ import annotations

import pytest
import torch
from newer_pipelines import PIPELINES, SIZES

from bigain_cli.compress import compressed


@pytest.mark.parametrize("family", PIPELINES)
def test_a_pipeline_generates_compressed_and_as_before(family: str) -> None:
    pipeline, options = PIPELINES[family]()
    pipeline.set_progress_bar_config(disable=True)
    height, width = SIZES[family]

    def images() -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        more = {"height": height, "width": width, "num_inference_steps": 2, "output_type": "pt"}
        return pipeline(**options, **more, generator=generator).images

    plain = images()
    for spec in ("lgtm:0.5@levels=all+mlp", "iekvd:2@0.8:1.2@levels=all"):
        with compressed(pipeline, spec) as compression:
            inside = images()
            assert inside.isfinite().all() and not torch.equal(inside, plain)
            assert compression.report().latent == (height // 2, width // 2)
            assert torch.equal(images(), inside)
        assert torch.equal(images(), plain)
