"""The denoiser at inference: convolutions in the chosen precision, modulation in float32, elementwise work fused away.

On a CPU the time of a small U-Net goes to elementwise passes as much as to convolutions. FiLM's scale and shift do not vary
within a window where the ground resolution does not, so there they are folded into the 3x3 convolution's weights, its SiLU and
the residual sum become oneDNN post-operations, and a block is two kernel calls. No compiler is needed for it.

The head at 1/2 resolution stays in float32 (TF32 on a GPU), behind branches in bf16. bf16 rounds otherwise than its neighbour
does where a window ends elsewhere, and the sampler magnifies what it rounds last: with the head in bf16 two windows differ by
up to 2.5 grey levels on one pixel, with it in float32 by 0.4 to 1.1, 0.08 in the root mean square, for a fifth more time
(tests/test_halo.py).
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.denoiser import Denoiser, ResidualBlock
from model.precision import Compute


class InferenceDenoiser:
    """A frozen copy of a denoiser on a device, called with one time for the whole batch."""

    def __init__(self, denoiser: Denoiser, compute: Compute) -> None:
        self.compute = compute
        self.network = copy.deepcopy(denoiser).eval().requires_grad_(False).to(compute.device)
        for module in self.network.modules():
            if isinstance(module, nn.Conv2d):  # embedding and FiLM stay in float32: bf16 would quantise the latitude
                module.to(compute.dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
                if module.kernel_size == (3, 3):
                    # Mirrored borders look like more of the picture: they disturb half as far inwards as zeros do, which
                    # training could use because it leaves borders out of the loss. The halo is the narrower for it.
                    module.padding_mode = "reflect"
        for layer in self.network.head_layers():
            layer.float()  # see above
        self.fuses = compute.device.type == "cpu" and _has_fused_convolutions()

    @torch.inference_mode()
    def __call__(self, x: Tensor, parent: Tensor, level: Tensor, t: float, log2_gsd: Tensor) -> Tensor:
        """As `Denoiser.forward`, with float32 inputs and output; ``t`` is one number."""
        x, parent, level = (_packed(value) for value in (x, parent, level))
        times = torch.full((x.shape[0],), t, device=x.device)
        shared = x.shape[0] == 1 and log2_gsd.shape[1] == 1
        if self.fuses and shared:
            return self._fused(x, parent, level, times, log2_gsd).float()
        return self.network(x, parent, level, times, log2_gsd).float()  # type: ignore[no-any-return]

    def _fused(self, x: Tensor, parent: Tensor, level: Tensor, t: Tensor, log2_gsd: Tensor) -> Tensor:
        """`Denoiser.forward` for one window of one ground resolution."""
        net = self.network
        e = net.embedding(t, log2_gsd)
        entry = torch.cat([F.pixel_unshuffle(x, 4), parent, level], 1).to(self.compute.dtype)
        h = _packed(net.enter(_packed(entry)))
        for block in net.before:
            h = _fused_block(block, h, e)  # type: ignore[arg-type]
        m = _packed(net.down(_packed(F.pixel_unshuffle(h, 2))))
        for block in net.middle:
            m = _fused_block(block, m, e)  # type: ignore[arg-type]
        h = _packed(h + F.interpolate(net.up(m), scale_factor=2, mode="nearest"))
        for block in net.after:
            h = _fused_block(block, h, e)  # type: ignore[arg-type]
        q = _packed(F.pixel_shuffle(net.widen(h.float()), 2)) + net.enter_head(_packed(F.pixel_unshuffle(x, 2)))
        for block in net.head:
            q = _fused_block(block, q, e)  # type: ignore[arg-type]
        return F.pixel_shuffle(net.leave(q), 2)


def _packed(x: Tensor) -> Tensor:
    """Channels last: oneDNN's post-operations are fast only where input, output and summand share one layout."""
    return x.contiguous(memory_format=torch.channels_last)


def _fused_block(block: ResidualBlock, x: Tensor, embedding: Tensor) -> Tensor:
    """`ResidualBlock.forward` for one window: FiLM folded into the weights, SiLU and the sum as post-operations."""
    scale, shift = (value.view(-1) for value in block.modulation(embedding))
    expand, project = block.expand, block.project
    assert expand.bias is not None
    weight = expand.weight * scale.to(expand.weight.dtype)[:, None, None, None]
    bias = torch.addcmul(shift, expand.bias.float(), scale).to(expand.weight.dtype)
    one = [1, 1]
    fused = torch.ops.mkldnn._convolution_pointwise
    wide = _packed(F.pad(x, (1, 1, 1, 1), mode="reflect")) if expand.padding_mode == "reflect" else x
    margin = [0, 0] if expand.padding_mode == "reflect" else one
    hidden = fused(wide, weight, bias, margin, one, one, 1, "swish", [], "")
    out: Tensor = fused.binary(hidden, x, project.weight, project.bias, [0, 0], one, one, 1, "add", 1.0, None, [], None)
    return out


def _has_fused_convolutions() -> bool:
    """Whether this torch build has oneDNN's fused convolutions and they compute what the plain block does."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):  # type: ignore[no-untyped-call]
        return False
    generator = torch.Generator().manual_seed(0)
    block = ResidualBlock(16, 8).requires_grad_(False)
    for parameter in block.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    x = torch.randn(1, 16, 8, 8, generator=generator).contiguous(memory_format=torch.channels_last)
    embedding = torch.randn(1, 1, 8, generator=generator)
    try:
        return torch.allclose(_fused_block(block, x, embedding), block(x, embedding), atol=1e-3)
    except (RuntimeError, TypeError, AttributeError):
        return False
