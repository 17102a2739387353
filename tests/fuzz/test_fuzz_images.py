"""Images: arrays, Pillow images and files of any kind, alone and in a batch."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image
from properties import any_texts, asked, holds, scalars, together

MODES = (
    *("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "La", "PA"),
    *("RGBX", "RGBa", "I;16", "I;16B", "I;16L"),
)
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO", "TGA", "PCX", "SGI")
DTYPES = (
    *("uint8", "uint8", "uint8", "float32", "float64", "float16", "bool", "int8", "int16"),
    *("int64", "uint64", "complex64", "object", "U3", "S3", "datetime64[s]", ">f4", "V2"),
)


def array(shape, dtype, seed, special):
    random = np.random.default_rng(seed)
    if special is None:
        values = random.random(shape) * (255 if dtype == "uint8" else 1)
    else:
        values = np.full(shape, special)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return values.astype(dtype)
        except (ValueError, TypeError, OverflowError):
            return np.zeros(shape, dtype)


arrays = st.builds(
    array,
    st.one_of(
        st.tuples(st.integers(1, 9), st.integers(1, 9)),
        st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4])),
        st.sampled_from([(8, 8), (8, 8, 1), (8, 8, 3), (1, 3000), (3000, 1, 3)]),
        st.lists(st.integers(0, 5), max_size=3).map(tuple),
        st.lists(st.integers(0, 3), min_size=5, max_size=6).map(tuple),
    ),
    st.sampled_from(DTYPES),
    st.integers(0, 9),
    st.sampled_from([None, None, None, 0.0, 1.0, -1.0, 255.0, np.nan, np.inf, 1e-300]),
)


def pillow(mode, size, seed, info):
    raw = np.random.default_rng(seed).bytes(size[0] * size[1] * 8)
    image = Image.new(mode, size)
    if 0 not in size and mode not in ("1",):
        try:
            image.frombytes(raw[: len(image.tobytes())])
        except (ValueError, OSError):
            pass
    image.info.update(info)
    return image


pillows = st.builds(
    pillow,
    st.sampled_from(MODES),
    st.tuples(st.integers(0, 9), st.integers(0, 9)),
    st.integers(0, 9),
    st.dictionaries(
        st.sampled_from(["transparency", "exif", "gamma"]),
        st.one_of(
            st.integers(-1, 300),
            st.binary(max_size=12),
            st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255)),
        ),
        max_size=2,
    ),
)


def encoded(image, kind):
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image.save(content, kind)
        except Exception:  # not every mode and size can be written
            Image.new("RGB", (5, 4), "red").save(content, kind)
    return content.getvalue()


def spoilt(content, changes, cut):
    content = bytearray(content)
    for place, value in changes:
        content[place % len(content)] = value
    return bytes(content[: len(content) - cut % len(content)] if cut else content)


files = st.builds(
    spoilt,
    st.builds(encoded, pillows, st.sampled_from(FORMATS)),
    st.lists(
        st.tuples(st.integers(0, 60) | st.integers(0, 10**6), st.integers(0, 255)), max_size=4
    ),
    st.just(0) | st.integers(0, 10**6),
)

images = st.one_of(arrays, pillows, files, files, any_texts, scalars)


@pytest.fixture(scope="module")
def models(toy):
    from zoo.models.mlp import MLPConfig

    def model(channels, **more):
        config = MLPConfig(input_shape=(8, 8, channels), num_classes=3, hidden_sizes=(4,))
        prepare = {"height": 8, "width": 8, "channels": channels, "mean": [0.5], "std": [0.5]}
        return toy(config, "image_classification", prepare | more, None, ("a", "b", "c"))

    return [model(1), model(3), model(3, resize=9)]


@holds(few=50, number=st.integers(0, 2), items=st.lists(images, max_size=3))
def test_a_classifier_answers_any_image_alike_alone_and_in_a_batch(models, number, items):
    def same(one, other):
        assert one.label == other.label
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)

    model = models[number]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        together(lambda item: model(item) if item is items else model([item])[0], items, same)


@holds(few=60, image=images)
def test_any_image_is_read_as_grey_or_colours(image):
    from zoo import preprocessing

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        answer = asked(preprocessing.read, image)
        if isinstance(answer, Image.Image):
            assert answer.mode in ("L", "RGB")
            assert min(answer.size) > 0


@holds(few=15, content=files)
def test_a_file_and_its_content_are_one_image(tmp_path, content):
    from zoo import preprocessing

    path = tmp_path / "image"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        assert isinstance(preprocessing.is_whole(path), bool)
        from_path, from_bytes = asked(preprocessing.read, path), asked(preprocessing.read, content)
    # Pillow's readers may tell a file that ends too early from such bytes.
    if isinstance(from_path, Image.Image) and isinstance(from_bytes, Image.Image):
        assert from_path.tobytes() == from_bytes.tobytes()


@holds(few=20, items=st.lists(images, min_size=1, max_size=3))
def test_any_images_become_a_column_or_are_refused(items):
    from zoo.pipelines.sources import image_files

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        asked(image_files.column, items)
