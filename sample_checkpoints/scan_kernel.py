"""The selective scan of Mamba-1 on a GPU: h_t = a_t · h_(t-1) + b_t, and its gradient.

Channels do not mix in the scan, so a thread takes one channel and walks along time (Gu & Dao 2023,
arXiv 2312.00752, section 3.3). The gradient g_t of the loss with respect to h_t is a scan too,
walked backwards; those of a and b follow on the way:

    g_t = dL/dh_t + a_(t+1) · g_(t+1)        db_t = g_t        da_t = g_t · h_(t-1)

``train.scan`` says the same in plain torch. Imported where there is a GPU alone, since Triton has
wheels for Linux alone.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

THREADS = 128


@triton.jit
def _forward_kernel(a, b, h, L, S, BLOCK: tl.constexpr):
    i_batch, i_block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    o_s = i_block * BLOCK + tl.arange(0, BLOCK)
    m_s = o_s < S
    o_t = i_batch * L * S + o_s  # (BLOCK,), at time t
    state = tl.zeros((BLOCK,), tl.float32)
    for _ in range(L):
        state = tl.load(a + o_t, m_s) * state + tl.load(b + o_t, m_s)
        tl.store(h + o_t, state, m_s)
        o_t += S


@triton.jit
def _backward_kernel(a, h, dh, da, db, L, S, BLOCK: tl.constexpr):
    i_batch, i_block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    o_s = i_block * BLOCK + tl.arange(0, BLOCK)
    m_s = o_s < S
    o_first = i_batch * L * S + o_s
    o_t = o_first + (L - 1) * S
    carried = tl.zeros((BLOCK,), tl.float32)  # a_(t+1) · g_(t+1)
    for _ in range(L):
        g = tl.load(dh + o_t, m_s) + carried
        before = tl.load(h + o_t - S, m_s & (o_t > o_first), 0.0)  # h_(t-1)
        tl.store(db + o_t, g, m_s)
        tl.store(da + o_t, g * before, m_s)
        carried = tl.load(a + o_t, m_s) * g
        o_t -= S


def _launch(kernel, *tensors: Tensor) -> None:
    batch, length, size = *tensors[0].shape[:2], tensors[0][0, 0].numel()
    kernel[(batch, triton.cdiv(size, THREADS))](*tensors, L=length, S=size, BLOCK=THREADS)


@torch.library.custom_op("scalescope::scan", mutates_args=())
def scan(a: Tensor, b: Tensor) -> Tensor:
    """All states h (B, L, D, N) from a and b (B, L, D, N), float32; differentiable."""
    a, b = a.contiguous(), b.contiguous()
    h = torch.empty_like(a)
    _launch(_forward_kernel, a, b, h)
    return h


@torch.library.custom_op("scalescope::scan_backward", mutates_args=())
def _scan_backward(a: Tensor, h: Tensor, dh: Tensor) -> tuple[Tensor, Tensor]:
    a, h, dh = a.contiguous(), h.contiguous(), dh.contiguous()
    da, db = torch.empty_like(a), torch.empty_like(a)
    _launch(_backward_kernel, a, h, dh, da, db)
    return da, db


@scan.register_fake
def _(a, b):
    return a.new_empty(a.shape)


@_scan_backward.register_fake
def _(a, h, dh):
    return a.new_empty(a.shape), a.new_empty(a.shape)


scan.register_autograd(
    lambda ctx, dh: _scan_backward(*ctx.saved_tensors, dh),
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(inputs[0], output),
)
