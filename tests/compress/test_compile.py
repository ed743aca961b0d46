"""A compressed network compiles as one graph, runs many batches on it, and is free again afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from compress_nets import dit, latents, times, unet
from joint_nets import flux, prx, run_flux, run_prx, run_sd3, sd3
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from bigain_cli.compress import apply, compressed
from bigain_cli.errors import ModelError

CASES = [
    ("dit", "lgtm:0.5+mlp+iekvd:2@0.8:1.2@levels=all"),
    ("dit", "tome:0.5@bias+mlp"),
    ("dit", "tome:0.5@unshared"),
    ("dit", "abm:0.5@mode=mlerp"),
    ("dit", "sito:0.5+todo:2"),
    ("unet", "lgtm:0.5@levels=all@share=level+mlp+cross+iekvd:2@0.8:1.2"),
]


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "spec"), CASES)
def test_one_graph_for_all_batches(kind: str, spec: str) -> None:
    network = unet() if kind == "unet" else dit(layers=2)
    label = torch.full((2,), 3) if kind == "dit" else torch.linspace(-1, 1, 80).view(1, 5, 16).expand(2, -1, -1)
    batches = [latents(2, seed=seed) for seed in (1, 2, 3)]
    plain = network(batches[0], times(2), label).sample
    compression = apply(network, spec)
    if "unshared" not in spec:  # whose randomness moves on
        expected = [network(x, times(2), label).sample for x in batches]
        with compression.record() as plans:
            network(batches[1], times(2), label)
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(network, backend=counter, fullgraph=True)
    first = compiled(batches[0], times(2), label).sample
    graphs = counter.frame_count
    found = [first, *(compiled(x, times(2), label).sample for x in batches[1:])]
    assert counter.frame_count == graphs
    if "unshared" not in spec:
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        with compression.replay(plans, torch.tensor([1, 0])):
            replayed = compiled(batches[1].flip(0), times(2).flip(0), label).sample
        torch.testing.assert_close(replayed, expected[1].flip(0), rtol=1e-5, atol=1e-5)
    compression.remove()
    torch.testing.assert_close(compiled(batches[0], times(2), label).sample, plain, rtol=1e-5, atol=1e-5)


SMALL_JOINT: dict[str, tuple[Callable[[], Any], Callable[..., Tensor], str]] = {
    "flux": (lambda: flux(num_layers=1, num_single_layers=1), run_flux, "lgtm:0.5+mlp+iekvd:2@0.8:1.2"),
    "prx": (lambda: prx(depth=1), run_prx, "tome:0.5+mlp+todo:2"),
    "sd3.5": (lambda: sd3(dual=(0,), layers=1), run_sd3, "abm:0.5+iekvd:2"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SMALL_JOINT)
def test_joint_attention_compiles_as_one_graph(kind: str) -> None:
    make, run, spec = SMALL_JOINT[kind]
    network, batches = make(), [latents(2, 8, 12, seed=seed) for seed in (1, 2)]
    compression = apply(network, spec, latent=(8, 12))
    expected = [run(network, x) for x in batches]
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(network, backend=counter, fullgraph=True)
    found = [run(compiled, batches[0])]
    graphs = counter.frame_count
    found.append(run(compiled, batches[1]))
    assert counter.frame_count == graphs
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    compression.remove()


def test_a_network_that_ran_compiled_before_is_found_out() -> None:
    """Its compiled form would ignore the hooks without a word."""
    network, label = dit(layers=2), torch.tensor([3])
    compiled = torch.compile(network, backend="eager")
    plain = compiled(latents(1), times(1), label).sample
    with compressed(network, "lgtm:0.5"), pytest.raises(ModelError, match="it ran without its compression"):
        compiled(latents(1), times(1), label)
    assert torch.equal(compiled(latents(1), times(1), label).sample, plain)
