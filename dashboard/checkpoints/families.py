"""config.json -> Architecture, for every family of models with Mamba layers.

All families share two mixers. Mamba-1's projects to [x | z] and convolves x; Mamba-2's projects to
[z | x B C | dt] and convolves x, B and C at once (arXiv 2312.00752, figure 3; arXiv 2405.21060,
section 7). They differ in what they call their sizes, and in which layers are Mamba layers at all:
a hybrid alternates them with attention, and its configuration may leave sizes out that have
defaults. Two layouts exist of the pure models: the state-spaces repository writes ``d_model``,
``n_layer`` and ``ssm_cfg``, Hugging Face a ``model_type`` and names of its own. Quamba keeps the
state-spaces words, and writes its own mixers' classes over ``ssm_cfg.layer``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dashboard.checkpoints.records import Architecture, CheckpointError, ConvSlice
from dashboard.refusals import quoted

SILU = ("silu", "swish")
LARGEST_SIZE = 2**31 - 1
LONGEST_CHUNK = 2**10  # the SSD works on matrices of chunk · chunk values a head; 256 is usual
CHUNKS = ("chunk_size", "mamba_chunk_size")
MOST_LAYERS = 2**16
LAYER_COUNTS = ("n_layer", "num_hidden_layers")

# What Quamba's save writes over ssm_cfg.layer (quantize_model_mamba): the quantized mixer's class.
QUAMBA_MIXERS = tuple(
    f"{width}QMamba{version}" for version in ("", "2") for width in ("W8A8", "W4A8", "W4A16")
)

Field = tuple[str, int | None]  # a name in config.json, and what its absence means


@dataclass(frozen=True)
class Family:
    """The names under which a family writes the sizes of its mixer.

    ``heads`` is None in a family of Mamba-1 mixers. ``inner`` names the width of x where the family
    can state it outright; otherwise x has ``expand`` · hidden_size channels.
    """

    classes: str  # transformers calls them <classes>Config and <classes>Model
    expand: Field = ("mamba_expand", 2)
    inner: str | None = None
    heads: Field | None = None
    head_dim: str | None = None  # where x is heads · head_dim wide
    groups: Field = ("mamba_n_groups", 1)
    state: Field = ("mamba_d_state", 256)
    activation: str | None = "hidden_act"  # None: always SiLU
    is_hybrid: bool = True


FAMILIES = {
    "mamba": Family("Mamba", ("expand", 2), is_hybrid=False),
    "falcon_mamba": Family("FalconMamba", ("expand", 2), is_hybrid=False),
    "mamba2": Family(
        "Mamba2", ("expand", 2), heads=("num_heads", 128), groups=("n_groups", 8),
        state=("state_size", 128), is_hybrid=False,
    ),
    "jamba": Family("Jamba"),
    "bamba": Family("Bamba", heads=("mamba_n_heads", 128)),
    "granitemoehybrid": Family("GraniteMoeHybrid", heads=("mamba_n_heads", 128)),
    "falcon_h1": Family("FalconH1", inner="mamba_d_ssm", heads=("mamba_n_heads", 128)),
    "zamba2": Family(
        "Zamba2", heads=("n_mamba_heads", 8), groups=("mamba_ngroups", 1),
        state=("mamba_d_state", 64), activation=None,
    ),
    "nemotron_h": Family(
        "NemotronH", heads=("mamba_num_heads", 128), head_dim="mamba_head_dim",
        groups=("n_groups", 8), state=("ssm_state_size", 128), activation="mamba_hidden_act",
    ),
}  # fmt: skip


def read_architecture(config: dict, path: Path) -> Architecture:
    """The sizes that a configuration states.

    Args:
        config: what ``path`` holds.
        path: config.json, for the errors.

    Raises CheckpointError, naming the field, for a family or a size that cannot be used.
    """
    if "d_model" in config:
        return _read_state_spaces(config, path)
    name = config.get("model_type")
    if not isinstance(name, str) or name not in FAMILIES:
        raise CheckpointError(
            "{path}: model_type is {value}; allowed are {families}, or a state-spaces config with "
            "d_model",
            path=path,
            value=quoted(name),
            families=tuple(FAMILIES),
        )
    return _read_hugging_face(name, config, path)


def _read_state_spaces(config: dict, path: Path) -> Architecture:
    ssm = config.get("ssm_cfg") or {}
    if not isinstance(ssm, dict):
        raise CheckpointError(
            "{path}: ssm_cfg is {value}, not an object", path=path, value=quoted(ssm)
        )
    n_layer = _size(config, ("n_layer", None), path)
    attention = _attention_layers(config, n_layer, path)
    layer = ssm.get("layer", "Mamba1")
    mixers: tuple[dict[str, str], ...] = ()
    if layer not in ("Mamba1", "Mamba2"):
        mixers = _quantized_mixers(layer, n_layer, attention, path)
        version = {name[-1] == "2" for names in mixers for name in names.values()}
        if len(version) != 1:
            raise CheckpointError(
                "{path}: ssm_cfg.layer names mixers of Mamba-1 and of Mamba-2", path=path
            )
        layer = "Mamba2" if version.pop() else "Mamba1"
    elif attention:
        raise CheckpointError(
            "{path}: attn_layer_idx names attention layers; of the hybrids only those in Hugging "
            "Face's layout can be run",
            path=path,
        )
    d_model = _size(config, ("d_model", None), path)
    inner = _size(ssm, ("expand", 2), path) * d_model
    vocab = _size(config, ("vocab_size", None), path)
    multiple = _size(config, ("pad_vocab_size_multiple", 1), path)
    sizes = {
        "layout": "state-spaces",
        "is_hybrid": bool(attention),
        "d_model": d_model,
        "vocab_size": -(-vocab // multiple) * multiple,
        "model_layers": n_layer,
        "quantized_mixers": mixers,
    }
    if layer == "Mamba1":
        return _mamba1("mamba", inner, sizes)
    heads = _divided(inner, _size(ssm, ("headdim", 64), path), "headdim", path)
    groups = _size(ssm, ("ngroups", 1), path)
    return _mamba2("mamba2", inner, heads, groups, _size(ssm, ("d_state", 128), path), sizes)


def _attention_layers(config: dict, n_layer: int, path: Path) -> set[int]:
    numbers = config.get("attn_layer_idx") or []
    if not isinstance(numbers, list) or not all(
        type(number) is int and 0 <= number < n_layer for number in numbers
    ):
        raise CheckpointError(
            "{path}: attn_layer_idx is {value}; it must list layers below {layers}",
            path=path,
            value=quoted(numbers),
            layers=quoted(n_layer),
        )
    return set(numbers)


def _quantized_mixers(
    layer: object, n_layer: int, attention: set[int], path: Path
) -> tuple[dict[str, str], ...]:
    """ssm_cfg.layer of a Quamba checkpoint -> for each layer, its mixers' names and classes.

    One class for all layers, each stored as plain ``mixer``; or, where widths are mixed, a list
    with an object a layer, from the names under ``mixers`` to classes.
    """
    if isinstance(layer, list):
        if len(layer) != n_layer:
            raise CheckpointError(
                "{path}: ssm_cfg.layer lists {count} layers; n_layer is {n_layer}",
                path=path,
                count=len(layer),
                n_layer=n_layer,
            )
        listed = layer
    else:
        listed = [{"": layer}] * n_layer
    for number, mixers in enumerate(listed):
        if number in attention:
            continue
        if not isinstance(mixers, dict) or not mixers:
            raise CheckpointError(
                "{path}: ssm_cfg.layer[{number}] is {value}; it must name a mixer's class",
                path=path,
                number=number,
                value=quoted(mixers),
            )
        for name in mixers.values():
            if not isinstance(name, str) or name not in QUAMBA_MIXERS:
                raise CheckpointError(
                    "{path}: ssm_cfg.layer is {value}; allowed are Mamba1, Mamba2, and Quamba's "
                    "{mixers}",
                    path=path,
                    value=quoted(name),
                    mixers=tuple(QUAMBA_MIXERS),
                )
    return tuple({} if number in attention else listed[number] for number in range(n_layer))


def _read_hugging_face(name: str, config: dict, path: Path) -> Architecture:
    family = FAMILIES[name]
    activation = config.get(family.activation, "silu") if family.activation else "silu"
    if not isinstance(activation, str) or activation not in SILU:
        raise CheckpointError(
            "{path}: {field} is {value}; the kernel computes SiLU after the convolution and "
            "nothing else",
            path=path,
            field=family.activation,
            value=quoted(activation),
        )
    for chunk in CHUNKS:
        _size(config, (chunk, 1), path)
    d_model = _size(config, ("hidden_size", None), path)
    sizes = {
        "layout": "hugging-face",
        "is_hybrid": family.is_hybrid,
        "d_model": d_model,
        "vocab_size": _size(config, ("vocab_size", None), path),
        "model_layers": _count_layers(config, path),
    }
    if not family.heads:
        return _mamba1(name, _size(config, family.expand, path) * d_model, sizes)
    heads = _size(config, family.heads, path)
    if family.head_dim:
        inner = heads * _size(config, (family.head_dim, 64), path)
    elif family.inner and config.get(family.inner) is not None:
        inner = _size(config, (family.inner, None), path)
    else:
        inner = _size(config, family.expand, path) * d_model
    groups, state = _size(config, family.groups, path), _size(config, family.state, path)
    _divided(inner, heads, family.heads[0], path)
    return _mamba2(name, inner, heads, groups, state, sizes)


def _count_layers(config: dict, path: Path) -> int:
    """Nemotron-H may write a list of its layers, or a pattern of letters, and no number."""
    for name in ("layers_block_type", "hybrid_override_pattern"):
        if isinstance(config.get(name), list | str) and "num_hidden_layers" not in config:
            return len(config[name])
    return _size(config, ("num_hidden_layers", None), path)


def _size(config: dict, field: Field, path: Path) -> int:
    key, default = field
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise CheckpointError(
            "{path}: {field} is {value}; it must be a positive integer",
            path=path,
            field=key,
            value=quoted(value),
        )
    largest = (
        LONGEST_CHUNK if key in CHUNKS else MOST_LAYERS if key in LAYER_COUNTS else LARGEST_SIZE
    )
    if value > largest:
        raise CheckpointError(
            "{path}: {field} is {value}; it can be {largest} at most",
            path=path,
            field=key,
            value=quoted(value),
            largest=largest,
        )
    return value


def _divided(channels: int, divisor: int, key: str, path: Path) -> int:
    if channels % divisor:
        raise CheckpointError(
            "{path}: {field} is {value}, which does not divide the {channels} channels of x",
            path=path,
            field=key,
            value=quoted(divisor),
            channels=quoted(channels),
        )
    return channels // divisor


def _mamba1(family: str, inner: int, sizes: dict) -> Architecture:
    return Architecture(
        family=family,
        slices=(ConvSlice("x", 0, inner),),
        conv_offset=0,
        head_dim=None,
        n_groups=None,
        **sizes,
    )


def _mamba2(
    family: str, inner: int, heads: int, groups: int, state: int, sizes: dict
) -> Architecture:
    width = groups * state
    return Architecture(
        family=family,
        slices=(
            ConvSlice("x", 0, inner),
            ConvSlice("B", inner, inner + width),
            ConvSlice("C", inner + width, inner + 2 * width),
        ),
        conv_offset=inner,
        head_dim=inner // heads,
        n_groups=groups,
        **sizes,
    )
