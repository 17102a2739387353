"""ResNets: trax's numbers, the papers' sizes, and what the fields do."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

TOLERANCE = {"resnet50": 2e-4, "wideresnet": 2e-5, "wideresnet_n1": 2e-5}
"""Of logits, by the golden file (CHECK.md)."""
CLASSES = {"resnet50": "Resnet50", "wideresnet": "WideResnet", "wideresnet_n1": "WideResnet"}


@pytest.mark.shared
@pytest.mark.parametrize("name", TOLERANCE)
def test_logits_and_running_statistics_are_trax_s(shared, name):
    from zoo.interop import trax

    path = shared / "golden" / "open"
    kwargs = json.loads((path / "manifest.json").read_text())[f"vision/{name}.npz"]["kwargs"]
    golden = dict(np.load(path / "vision" / f"{name}.npz"))
    checkpoint = trax.read(path / "vision" / f"{name}.pkl.gz")
    images = jnp.asarray(golden["images"])
    config = trax.config(CLASSES[name], **kwargs)
    # trax's files do not say how large the images are: 200 and 224 leave the same map of 7 x 7.
    config = dataclasses.replace(config, input_shape=images.shape[1:])
    module, variables = config.build(), trax.to_variables(checkpoint, config)
    close = {"rtol": 1e-4, "atol": TOLERANCE[name]}

    @jax.jit
    def run(variables, images):
        before = module.apply(variables, images)
        logits, changed = module.apply(variables, images, train=True, mutable=["batch_stats"])
        return before, logits, changed, module.apply({**variables, **changed}, images)

    before, logits, changed, after = run(variables, images)
    np.testing.assert_allclose(before, golden["eval_logits"], **close)
    np.testing.assert_allclose(logits, golden["train_logits"], **close)
    np.testing.assert_allclose(after, golden["eval_logits_after_train"], **close)

    state = tuple(golden[f"new_state_{i:03d}"] for i in range(len(checkpoint.state)))
    expected = trax.to_variables(dataclasses.replace(checkpoint, state=state), config)
    assert jax.tree.structure(changed["batch_stats"]) == jax.tree.structure(expected["batch_stats"])
    jax.tree.map(
        lambda found, expected: np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5),
        changed["batch_stats"],
        expected["batch_stats"],
    )


def small(**fields):
    """A network of one block a stage, and its variables."""
    from zoo.models.resnet import ResNetConfig

    given = {
        "block": "basic",
        "stage_sizes": (1, 1),
        "width": 4,
        "stem": "3x3",
        "input_shape": (8, 8, 3),
        "num_classes": 3,
    }
    return ResNetConfig(**(given | fields))


SIZES = {
    # name: (parameters with 1,000 or 10 classes, convolutions and dense layers without shortcuts,
    # which the names of the wide networks count and those of the others do not)
    "resnet18": (11_689_512, 18),
    "resnet34": (21_797_672, 34),
    "resnet50": (25_557_032, 50),
    "resnet101": (44_549_160, 101),
    "resnet152": (60_192_808, 152),
    "resnet20_cifar": (269_722, 20),
    "resnet32_cifar": (464_154, 32),
    "resnet56_cifar": (853_018, 56),
    "wide_resnet28_10": (36_479_194, 26),
    "wide_resnet16_4": (2_748_890, 14),
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_those_of_the_papers_and_of_other_libraries(name):
    from zoo import registry
    from zoo.storage import weights

    cifar = "cifar" in name or "wide" in name
    config = dataclasses.replace(
        registry.models.get(name)(),
        input_shape=(32, 32, 3) if cifar else (224, 224, 3),
        num_classes=10 if cifar else 1000,
    )
    shapes = config.variable_shapes()
    parameters, layers = SIZES[name]
    assert weights.count(shapes["params"])[0] == parameters
    names = [name for name in weights.flatten(shapes["params"]) if name.endswith("/kernel")]
    assert sum("shortcut" not in name for name in names) == layers


def layers(**fields):
    """A module that only makes layers, for convolutions and normalisations by themselves."""
    from flax import linen as nn

    from zoo.models.resnet import ImageModule

    class Norm(ImageModule):
        @nn.compact
        def __call__(self, x, *, train):
            return self.norm(x, train, name="norm")

    return Norm(small(**fields))


def test_padding_is_that_of_other_libraries_and_with_trax_s_quirks_that_of_trax(key):
    """The first value of a 3 x 3 convolution with stride 2 is centred on the first pixel."""
    from zoo.models.resnet import ResNet
    from zoo.models.trax.resnet import ResNetQuirks, TraxResNet

    x = jnp.arange(36.0).reshape(1, 6, 6, 1)
    kernel = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1.0)
    ours, trax = ResNet(small()), TraxResNet(small(trax=ResNetQuirks()))
    found = ours.conv(1, 3, 2, name="conv").apply({"params": {"kernel": kernel}}, x)
    np.testing.assert_array_equal(found[0, :, :, 0], x[0, ::2, ::2, 0])
    params = {"kernel": kernel, "bias": jnp.full(1, 0.5)}
    found = trax.conv(1, 3, 2, name="conv").apply({"params": params}, x)
    np.testing.assert_array_equal(found[0, :, :, 0], x[0, 1::2, 1::2, 0] + 0.5)
    assert ours.max_pool(x)[0, 0, 0, 0] == 7
    assert trax.max_pool(x).shape == (1, 2, 2, 1)


def test_batch_norm_normalises_and_keeps_biased_running_statistics(key):
    x = 3 + 2 * jax.random.normal(key(), (4, 5, 6, 2))
    norm = layers(norm_momentum=0.75)
    variables = norm.init(key(), x, train=False)
    y, changed = norm.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(y.mean(axis=(0, 1, 2)), [0, 0], atol=1e-5)
    np.testing.assert_allclose(y.var(axis=(0, 1, 2)), [1, 1], atol=1e-4)
    changed = changed["batch_stats"]["norm"]
    np.testing.assert_allclose(changed["mean"], 0.25 * x.mean(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(changed["var"], 0.75 + 0.25 * x.var(axis=(0, 1, 2)), rtol=1e-5)
    still, unchanged = norm.apply(variables, x, train=False, mutable=["batch_stats"])
    np.testing.assert_allclose(still, x, rtol=1e-4)
    assert jax.tree.all(
        jax.tree.map(jnp.array_equal, unchanged["batch_stats"], variables["batch_stats"])
    )


def test_a_constant_channel_of_large_values_has_no_negative_variance(key):
    x = jnp.full((3, 3, 3, 1), 12345.678)
    variables = layers().init(key(), x, train=False)
    y, _ = layers().apply(variables, x, train=True, mutable=["batch_stats"])
    assert jnp.isfinite(y).all()


def test_forward_mode_differentiation_agrees_with_the_gradient(key):
    """A tangent, and by forward over reverse a product with the Hessian, beside a difference."""
    config = small(activation="tanh")
    x = jax.random.normal(key(), (4, 8, 8, 3))
    variables = jax.jit(config.build().init)(key(), x)
    towards = jax.tree.map(lambda p: jax.random.normal(key(), p.shape), variables["params"])

    @jax.jit
    def run(params, towards):
        def loss(params):
            logits, _ = config.build().apply(
                {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
            )
            return jax.nn.log_softmax(logits)[:, 0].mean()

        gradient = jax.grad(loss)
        beside = jax.tree.map(lambda p, t: p + 1e-3 * t, params, towards)
        return (
            jax.jvp(loss, (params,), (towards,))[1],
            jax.jvp(gradient, (params,), (towards,))[1],
            gradient(params),
            gradient(beside),
        )

    along, product, gradient, beside = run(variables["params"], towards)
    pairs = zip(jax.tree.leaves(gradient), jax.tree.leaves(towards), strict=True)
    np.testing.assert_allclose(along, sum(jnp.vdot(g, t) for g, t in pairs), rtol=1e-3)
    flat = jax.flatten_util.ravel_pytree
    difference = (flat(beside)[0] - flat(gradient)[0]) / 1e-3
    product = flat(product)[0]
    assert np.linalg.norm(product - difference) < 0.02 * np.linalg.norm(difference)


def test_one_image_trains_where_it_has_several_positions_left(key):
    from zoo.config import ConfigError

    def train(config):
        x = jax.random.normal(key(), (1, *config.input_shape))
        variables = config.build().init(key(), x)
        return config.build().apply(variables, x, train=True, mutable=["batch_stats"])[0]

    assert jnp.isfinite(train(small())).all()
    with pytest.raises(ConfigError, match="cannot train on one value a channel: the batch is one"):
        train(small(input_shape=(2, 2, 3)))


def test_blocks_begin_as_their_shortcuts(key):
    x = jax.random.normal(key(), (2, 8, 8, 3))
    one, two = small(stage_sizes=(1,)), small(stage_sizes=(2,))
    variables = two.build().init(key(), x)
    params = {k: v for k, v in variables["params"].items() if "block_1" not in k}
    stats = {k: v for k, v in variables["batch_stats"].items() if "block_1" not in k}
    found = two.build().apply(variables, x)
    expected = one.build().apply({"params": params, "batch_stats": stats}, x)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert not variables["params"]["stage_0_block_0"]["norm_1"]["scale"].any()
    other = dataclasses.replace(two, zero_init=False).build().init(key(), x)
    assert other["params"]["stage_0_block_0"]["norm_1"]["scale"].all()


def test_the_shortcuts_for_cifar_have_no_parameters(key):
    config = small(shortcut="padding", zero_init=True)
    x = jnp.abs(jax.random.normal(key(), (2, 8, 8, 4)))
    from zoo.models.resnet import ResidualBlock

    block = ResidualBlock(config, 8, 2)
    variables = block.init(key(), x, train=False)
    assert "shortcut" not in variables["params"]
    y = block.apply(variables, x, train=False)
    np.testing.assert_array_equal(y[..., :4], x[:, ::2, ::2])
    np.testing.assert_array_equal(y[..., 4:], 0)


def test_images_of_any_size_fit(key):
    config = small()
    variables = config.build().init(key(), jnp.zeros((1, 8, 8, 3)))
    assert config.build().apply(variables, jnp.zeros((2, 11, 5, 3))).shape == (2, 3)


@pytest.mark.parametrize("wide", [False, True])
def test_bfloat16_keeps_parameters_and_statistics_in_float32(key, wide):
    from zoo.models.resnet import WideResNetConfig

    config = small()
    if wide:
        config = WideResNetConfig(
            num_blocks=1, widen_factor=1, input_shape=(8, 8, 3), num_classes=3, dropout_rate=0.1
        )
    narrow = config.in_precision("bfloat16")
    x = jax.random.normal(key(), (4, 8, 8, 3))
    variables = config.build().init(key(), x)

    def loss(params, module):
        logits, changed = module.apply(
            {**variables, "params": params},
            x,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(1)},
        )
        return (logits**2).sum(), (logits, changed)

    grad = jax.jit(jax.grad(loss, has_aux=True), static_argnums=1)
    gradients, (logits, changed) = grad(variables["params"], narrow.build())
    _, (expected, _) = grad(variables["params"], config.build())
    np.testing.assert_allclose(logits, expected, atol=0.1, rtol=0.1)
    assert (logits != expected).any()
    for leaf in jax.tree.leaves((gradients, changed, logits)):
        assert leaf.dtype == jnp.float32
        assert jnp.isfinite(leaf).all()


def test_int8_is_refused():
    from zoo.config import ConfigError

    with pytest.raises(ConfigError) as error:
        small().in_precision("int8")
    assert str(error.value) == (
        "dtype is 'int8'; a ResNetConfig spends its time in convolutions, which come in float32 "
        "and bfloat16"
    )


def test_a_wide_block_without_its_convolutions_is_its_shortcut(key):
    """Where the shape stays the input, elsewhere 1 x 1 over the normalised, activated input."""
    from zoo.models.resnet import WideResNetConfig

    config = WideResNetConfig(num_blocks=2, widen_factor=1, input_shape=(8, 8, 3), num_classes=3)
    x = jax.random.normal(key(), (2, 8, 8, 3))
    variables = jax.jit(config.build().init)(key(), x)
    params = variables["params"]
    # The first group has as many channels as the stem.
    shortcuts = [name for name in params if "shortcut" in name]
    assert shortcuts == ["stage_1_shortcut", "stage_2_shortcut"]
    assert "bias" not in params["stem"]
    kernels = [params[name]["kernel"][0, 0] for name in shortcuts]
    silent = {
        name: {**part, "conv_1": {"kernel": jnp.zeros_like(part["conv_1"]["kernel"])}}
        if "block" in name
        else part
        for name, part in params.items()
    }
    centre = params["stem"]["kernel"][1, 1]
    silent["stem"] = {"kernel": jnp.zeros((3, 3, 3, 16)).at[1, 1].set(centre)}
    found = jax.jit(config.build().apply)({**variables, "params": silent}, x)

    # At the beginning a normalisation divides by √(1 + ε) alone.
    def activated(y):
        return jnp.maximum(y / jnp.sqrt(1 + 1e-5), 0)

    y = x @ centre
    for kernel in kernels:
        y = activated(y)[:, ::2, ::2] @ kernel
    means = activated(y).mean(axis=(1, 2))
    expected = means @ params["head"]["kernel"] + params["head"]["bias"][None]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_window_larger_than_what_is_left_of_the_image_is_refused():
    from zoo.config import ConfigError
    from zoo.models.trax.resnet import ResNetQuirks

    with pytest.raises(ConfigError) as error:
        small(input_shape=(16, 8, 2), trax=ResNetQuirks()).variable_shapes()
    assert str(error.value) == (
        "trax.pool_window is 7, and 8 x 4 positions are left of the image; make the window smaller "
        "or the images larger"
    )
