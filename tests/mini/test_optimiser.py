"""Muon beside AdamW: whose matrices are whose, and what a step is."""

import pytest
import torch
from torch import nn

from wanexp.mini.expert_training import _hidden as hidden_of_expert
from wanexp.mini.optimiser import Muon, Optimiser, orthogonal
from wanexp.mini.shapes import new_expert, new_vae
from wanexp.mini.vae_training import _hidden as hidden_of_vae


@pytest.mark.parametrize("shape", [(3, 16, 160), (2, 160, 16), (1, 32, 32)])
def test_a_step_keeps_its_directions_and_evens_out_their_lengths(shape):
    torch.manual_seed(0)
    matrices = torch.randn(shape)
    made = orthogonal(matrices).float()
    lengths = torch.linalg.svdvals(made)
    assert made.shape == matrices.shape
    assert lengths.min() > 0.6 and lengths.max() < 1.25
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    aligned = torch.diagonal(u.mT @ made @ v.mT, dim1=1, dim2=2)
    assert aligned.min() > 0.6


def test_a_step_is_as_long_as_adams_would_be():
    torch.manual_seed(0)
    weight = nn.Parameter(torch.zeros(48, 400))
    weight.grad = torch.randn(48, 400)
    Muon([weight]).step(1e-3)
    assert weight.detach().std() == pytest.approx(0.2e-3, rel=0.15)


def test_a_layer_that_was_passed_by_stays_as_it_is():
    seen, passed = nn.Parameter(torch.ones(4, 8)), nn.Parameter(torch.ones(3, 5))
    muon = Muon([seen, passed])
    seen.grad = torch.randn(4, 8)
    muon.step(0.1)
    assert not seen.eq(1).all()
    assert passed.eq(1).all()


def test_it_learns_a_linear_map():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(12, 12), nn.Linear(12, 12))
    truth, given = torch.randn(12, 12) / 4, torch.randn(256, 12)
    optimiser = Optimiser(layers, lambda name: name.startswith("0."), betas=(0.9, 0.99))
    losses = []
    for step in range(300):
        loss = ((layers(given) - given @ truth) ** 2).mean()
        loss.backward()
        optimiser.step(0.02 * (1 - step / 300))
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 500
    assert all(p.grad is None for p in layers.parameters())


@pytest.mark.parametrize(
    ("module", "hidden", "outer"),
    [
        (new_vae(), hidden_of_vae, ("conv_in", "conv_out", "quant_conv")),
        (new_expert(), hidden_of_expert, ("patch_embedding", "proj_out", "condition_embedder")),
    ],
)
def test_first_and_last_layers_are_adams_and_most_weights_muons(module, hidden, outer):
    named = dict(module.named_parameters())
    matrices = {n: p for n, p in named.items() if hidden(n) and p.ndim > 1}
    assert not [n for n in matrices if any(part in n for part in outer)]
    share = sum(p.numel() for p in matrices.values()) / sum(p.numel() for p in named.values())
    assert share > 0.85
