"""`generate`: prompts in, a stream of images out; image i of a prompt depends only on the prompt and seed + i.

Uses the same backbone and compression as classification. Never prints, never exits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from bigain_cli.backbones.base import Backbone, Conditions, machine_of, spec_for
from bigain_cli.backbones.batch_sizes import generation_batch_size, out_of_memory, stable_batch_size
from bigain_cli.backbones.devices import leave_float16
from bigain_cli.backbones.loading import as_backbone
from bigain_cli.compress import Compression, Spec
from bigain_cli.compress.patching import compressed_or_not
from bigain_cli.errors import BigainError, check_known
from bigain_cli.generation.generated_image import GeneratedImage
from bigain_cli.generation.options import GenerationOptions, check_guidance, check_prompts, check_sampler, latent_shape
from bigain_cli.generation.samplers import DEFAULT_SAMPLER, FLOW_SAMPLER, SAMPLERS
from bigain_cli.generation.sampling_loop import Guidance, SamplingLoop
from bigain_cli.outputs.text import counted
from bigain_cli.version import __version__


@dataclass(frozen=True)
class GenerationProgress:
    """How many network evaluations of batches are done, of how many."""

    done: int
    of: int


def generate(
    backbone: Backbone | str,
    prompts: str | Sequence[str],
    *,
    count: int = 1,
    sampler: str | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    negative: str = "",
    size: tuple[int, int] | None = None,
    seed: int = 0,
    compress: str | Spec | None = None,
    batch: int | None = None,
) -> Iterator[GeneratedImage]:
    """Generate `count` images of each prompt, prompt by prompt; None leaves a choice to the backbone."""
    options = GenerationOptions(sampler, steps, guidance, negative, size, seed, compress, batch)
    generation = Generation(backbone, [prompts] if isinstance(prompts, str) else prompts, options, count)
    return (event for event in generation.events() if isinstance(event, GeneratedImage))


class Generation:
    """One run: the prompts are encoded once, then images are generated batch by batch."""

    def __init__(
        self, backbone: Backbone | str, prompts: Sequence[str], options: GenerationOptions, count: int = 1
    ) -> None:
        self.backbone = backbone = as_backbone(backbone)
        self.prompts = tuple(prompts)
        check_prompts(self.prompts, count, options.seed)
        self._shape = latent_shape(backbone, options.size)
        check_guidance(backbone, options)
        self._batch = generation_batch_size(backbone, self._shape, options.batch)
        self._spec = spec_for(backbone, backbone.sampling.compress if options.compress is None else options.compress)
        self.options = self._with_defaults(options)
        self._jobs = [(prompt, options.seed + i) for prompt in range(len(self.prompts)) for i in range(count)]
        self._conditional, self._unconditional = self._conditions()
        self._evaluations = len(self._sampling_loop())  # per batch
        with compressed_or_not(backbone, self._spec, self._shape[1:]) as compression:
            tokens = self._conditional.text_tokens
            self.report = compression.report(self._shape[1:], tokens) if compression is not None else None
        if self.report is not None:
            self.report.warn()

    @property
    def plan(self) -> str:
        """What the run takes, as a phrase."""
        images, steps = counted(len(self._jobs), "image"), counted(self._evaluations, "step")
        return f"{images} × {steps} on {machine_of(self.backbone)}"

    @property
    def settings(self) -> dict[str, Any]:
        """Return everything an image depends on, except its prompt and its seed."""
        import diffusers

        options = self.options
        return {
            "version": __version__,
            "model": self.backbone.name,
            "weights": self.backbone.identity,
            "negative": options.negative,
            "sampler": options.sampler,
            "steps": options.steps,
            "guidance": options.guidance,
            "size": list(options.size or ()),
            "compress": str(self._spec),
            "dtype": str(self.backbone.dtype).removeprefix("torch."),
            "batch": self._batch,
            "libraries": {"torch": torch.__version__, "diffusers": diffusers.__version__},
        }

    def events(self) -> Iterator[GenerationProgress | GeneratedImage]:
        """Yield the progress after each evaluation and the images after each batch, in order."""
        with compressed_or_not(self.backbone, self._spec, self._shape[1:]) as compression:
            start = 0
            while start < len(self._jobs):
                images = yield from self._generate_batch(compression, start)
                if images is None:
                    continue
                for (prompt, seed), image in zip(self._jobs[start:], images, strict=False):
                    yield GeneratedImage(image, self.prompts[prompt], seed, self.settings)
                start += self._batch

    def _generate_batch(
        self, compression: Compression | None, start: int
    ) -> Generator[GenerationProgress, None, list[Image] | None]:
        """Return the images of the batch that starts at a job, or None if it must be tried again."""
        jobs = [self._jobs[min(start + i, len(self._jobs) - 1)] for i in range(self._batch)]  # filled up with repeats
        rows = torch.tensor([prompt for prompt, _ in jobs], device=self.backbone.device)
        seeds = [seed for _, seed in jobs]
        unconditional = self._unconditional.take(torch.zeros_like(rows))
        guidance = 1.0 if self.backbone.guidance_input else self._guidance
        guide = Guidance(self.backbone, compression, guidance, self._conditional.take(rows), unconditional, seeds)
        before, batches = start // self._batch, -(-len(self._jobs) // self._batch)
        try:
            for number, latents in enumerate(self._sampling_loop().run(seeds, guide), 1):  # noqa: B007
                yield GenerationProgress(before * self._evaluations + number, batches * self._evaluations)
            return self._decode(latents, len(self._jobs) - start)
        except RuntimeError as problem:
            if not out_of_memory(problem):
                raise
            self._halve_batch()
            return None

    def _decode(self, latents: Tensor, count: int) -> list[Image] | None:
        """Return the first images, or None if the numbers were too large for float16."""
        if bool(latents.isfinite().all()):
            return self.backbone.decode(latents[:count])
        if self.backbone.dtype == torch.float16:
            leave_float16(self.backbone)
            self._conditional, self._unconditional = self._conditions()
            return None
        why = "the network returned no numbers (NaN or infinity)"
        in_float32 = self.backbone.dtype == torch.float32
        hint = "Try fewer --steps or another --sampler" if in_float32 else "Try --dtype float32"
        raise BigainError(f"model {self.backbone.name}", why, f"{hint}, or download its weights again.")

    @property
    def _guidance(self) -> float:
        assert self.options.guidance is not None
        return self.options.guidance

    def _sampling_loop(self) -> SamplingLoop:
        assert self.options.sampler is not None and self.options.steps is not None
        return SamplingLoop(self.backbone, self.options.sampler, self.options.steps, self._shape)

    def _with_defaults(self, options: GenerationOptions) -> GenerationOptions:
        """Fill in the model's choice for each option that is None."""
        default = self.backbone.sampling
        usual = FLOW_SAMPLER if self.backbone.flow else DEFAULT_SAMPLER
        sampler = options.sampler or default.sampler or usual
        check_known("sampler", sampler, SAMPLERS)
        check_sampler(self.backbone, sampler)
        default_steps = default.steps if sampler == (default.sampler or usual) else None
        return dataclasses.replace(
            options,
            sampler=sampler,
            steps=options.steps or default_steps or SAMPLERS[sampler].steps,
            guidance=float(default.guidance or 1.0) if options.guidance is None else float(options.guidance),
            size=(self._shape[2] * self.backbone.scale, self._shape[1] * self.backbone.scale),
        )

    def _conditions(self) -> tuple[Conditions, Conditions]:
        """Encode the prompts, and with guidance the prompt to move away from, unless the guidance is an input."""
        conditional = self.backbone.condition(self.prompts)
        if self.backbone.guidance_input:
            conditional = self.backbone.guided(conditional, self._guidance)
        if self.backbone.guidance_input or self._guidance == 1:
            return conditional, conditional
        return conditional, self.backbone.condition([self.options.negative])

    def _halve_batch(self) -> None:
        if self._batch == 1:
            hint = "Try --dtype bfloat16, a smaller --size, a smaller model, or --device cpu."
            raise BigainError("out of memory", "a single image does not fit", hint)
        self._batch = stable_batch_size(self._batch // 2)
        if self.backbone.device.type == "cuda":
            torch.cuda.empty_cache()
