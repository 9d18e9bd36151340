"""The seam at a convolution's output: nothing changes where nothing is replaced, in any family."""

import pytest
import torch
from random_checkpoints import CONFIGS, MAMBA_LAYERS, save_model

from dashboard.checkpoints import (
    CheckpointError,
    load_backbone,
    load_checkpoint,
    load_language_model,
    replaced_outputs,
    sample_names,
)

SEQ_LEN = 19  # longer than a chunk of the tiny models, and no multiple of one

each_family = pytest.mark.parametrize("family", CONFIGS)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """family -> checkpoint, model with its head; made when first asked for."""
    root, models = tmp_path_factory.mktemp("families"), {}

    def model(family):
        if family not in models:
            save_model(family, root / family)
            checkpoint = load_checkpoint(str(root / family))
            models[family] = checkpoint, load_language_model(checkpoint, "cpu")
        return models[family]

    return model


def tokens(seed: int = 0) -> torch.Tensor:
    return torch.randint(256, (1, SEQ_LEN), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def logits(model, ids: torch.Tensor) -> torch.Tensor:
    return model(ids, use_cache=False).logits


def state_of(model) -> dict:
    """All that the seam touches, by identity: parameters, activations, multipliers, hooks."""
    state = {name: (id(p), p.data_ptr()) for name, p in model.named_parameters()}
    for name, module in model.named_modules():
        state[name, "hooks"] = len(module._forward_hooks)
        state[name, "activation"] = getattr(module, "activation", None)
        multiplier = getattr(module, "mup_vector", None)
        state[name, "multiplier"] = multiplier if multiplier is None else id(multiplier)
    return state


@each_family
def test_with_nothing_replaced_hidden_states_and_logits_are_the_same_bits(family, loaded):
    checkpoint, model = loaded(family)
    before = state_of(model)
    ids = tokens()
    with torch.no_grad():
        expected = model.base_model(ids, use_cache=False).last_hidden_state
        expected_logits = logits(model, ids)
        calls = []

        def unchanged(layer):
            def replacement(x, compute_y):
                calls.append(layer)
                return compute_y()

            return replacement

        replacements = {layer: unchanged(layer) for layer in MAMBA_LAYERS[family]}
        with replaced_outputs(checkpoint, model.base_model, replacements):
            hidden = model.base_model(ids, use_cache=False).last_hidden_state
            assert torch.equal(logits(model, ids), expected_logits)
    assert torch.equal(hidden, expected)
    assert calls == [*MAMBA_LAYERS[family]] * 2
    assert state_of(model) == before
    assert torch.equal(logits(model, ids), expected_logits)


@pytest.mark.parametrize("name", sample_names())
def test_on_the_samples_too(name):
    checkpoint = load_checkpoint(name)
    model = load_language_model(checkpoint, "cpu")
    ids = tokens()
    expected = logits(model, ids)
    same = dict.fromkeys(checkpoint.layers, lambda x, compute_y: compute_y())
    with replaced_outputs(checkpoint, model.base_model, same):
        assert torch.equal(logits(model, ids), expected)


@each_family
def test_what_is_put_there_is_what_the_scan_receives(family, loaded):
    """A bias that is 2 higher in the model, and the same y worked out here, tap by tap."""
    checkpoint, model = loaded(family)
    layer = MAMBA_LAYERS[family][-1]
    expected = logits(model, tokens())
    conv = checkpoint.conv(layer)

    def by_hand(x, _compute_y):
        y = torch.zeros_like(x)
        width = conv.weight.shape[1]
        for position in range(SEQ_LEN):
            v = conv.bias + 2
            for k in range(width):
                if position - (width - 1) + k >= 0:
                    v = v + conv.weight[:, k] * x[0, :, position - (width - 1) + k]
            y[0, :, position] = v / (1 + torch.exp(-v))
        return y

    with replaced_outputs(checkpoint, model.base_model, {layer: by_hand}):
        replaced = logits(model, tokens())
    mixer = next(m for m in model.base_model.layers[layer].modules() if hasattr(m, "conv1d"))
    bias = mixer.conv1d.bias.clone()
    with torch.no_grad():
        mixer.conv1d.bias += 2
        shifted = logits(model, tokens())
        mixer.conv1d.bias.copy_(bias)
    assert not torch.allclose(shifted, expected, atol=1e-3)
    # float32 sums in another order, through a layer and the head
    torch.testing.assert_close(replaced, shifted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ["mamba2", "falcon_h1", "jamba"])
def test_the_model_is_restored_whatever_happens(family, loaded):
    checkpoint, model = loaded(family)
    before, expected = state_of(model), logits(model, tokens())

    def stop(_x, _compute_y):
        raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        replaced_outputs(checkpoint, model.base_model, dict.fromkeys(checkpoint.layers, stop)),
    ):
        logits(model, tokens())
    assert state_of(model) == before
    assert torch.equal(logits(model, tokens()), expected)


def test_a_layer_without_a_convolution_is_refused_and_nothing_is_touched(loaded):
    checkpoint, model = loaded("bamba")
    before = state_of(model)
    replacements = dict.fromkeys([0, 1], lambda x, compute_y: compute_y())
    with (
        pytest.raises(CheckpointError, match=r"layer 1 has no convolution to replace; .* 0, 2, 3"),
        replaced_outputs(checkpoint, model.base_model, replacements),
    ):
        pass
    assert state_of(model) == before


def test_a_model_in_training_mode_is_refused(loaded):
    checkpoint, model = loaded("mamba")
    model.train()
    try:
        with (
            pytest.raises(CheckpointError, match="training mode"),
            replaced_outputs(checkpoint, model.base_model, {}),
        ):
            pass
    finally:
        model.eval()


@each_family
def test_a_language_models_backbone_is_the_backbone(family, loaded):
    checkpoint, model = loaded(family)
    ids = tokens()
    with torch.no_grad():
        expected = load_backbone(checkpoint, "cpu")(ids, use_cache=False).last_hidden_state
        hidden = model.base_model(ids, use_cache=False).last_hidden_state
    assert torch.equal(hidden, expected)


def test_a_head_that_is_not_there_is_not_invented(tmp_path):
    from random_checkpoints import rewrite

    save_model("nemotron_h", tmp_path)  # the family whose head is its own
    rewrite(tmp_path, lambda state: state.pop("lm_head.weight"))
    with pytest.raises(CheckpointError, match=r"are missing, as lm_head\.weight"):
        load_language_model(load_checkpoint(str(tmp_path)), "cpu")
