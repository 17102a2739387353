from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from zoo.config import ConfigError
from zoo.preprocessing import ImagePreprocessing, read

RGB = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
GREY = RGB[..., 0]


def plain(height: int = 4, width: int = 5, channels: int = 3, **fields) -> ImagePreprocessing:
    """Leaves values from 0 to 255 as they are."""
    return ImagePreprocessing(
        height=height, width=width, channels=channels, mean=(0.0,), std=(1 / 255,), **fields
    )


def test_values_are_standardised_in_float32():
    prepare = ImagePreprocessing(height=1, width=3, channels=1)
    result = prepare(np.array([[0, 51, 255]], np.uint8))
    assert (result.dtype, result.shape) == (np.float32, (1, 3, 1))
    np.testing.assert_allclose(result.ravel(), [-1, -0.6, 1], rtol=1e-6)


def test_channels_may_have_their_own_mean_and_deviation():
    prepare = ImagePreprocessing(
        height=4, width=5, channels=3, mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0)
    )
    expected = (RGB / 255 - [0.1, 0.2, 0.3]) / [0.5, 1.0, 2.0]
    np.testing.assert_allclose(prepare(RGB), expected, atol=1e-6)


def test_fields_may_come_from_a_card():
    card = {"height": 4, "width": 5, "channels": 3, "mean": [0.5], "std": [0.5]}
    assert ImagePreprocessing(**card)(RGB).shape == (4, 5, 3)


def test_files_pillow_images_and_arrays_give_the_same(tmp_path):
    image = Image.fromarray(RGB)
    image.save(tmp_path / "a.png")
    for same in (tmp_path / "a.png", str(tmp_path / "a.png"), image, RGB, RGB / 255):
        np.testing.assert_array_equal(plain()(same), RGB)


def test_other_sizes_are_resized_whatever_their_shape():
    flat = np.full((40, 7, 3), 9, np.uint8)
    np.testing.assert_array_equal(plain()(flat), np.full((4, 5, 3), 9))
    assert plain()(np.zeros((1, 1), np.uint8)).shape == (4, 5, 3)


def test_resizing_averages_what_it_leaves_out():
    stripes = np.tile(np.array([0, 200], np.uint8), (8, 32))
    assert np.ptp(plain(4, 4, 1)(stripes)[:, 1:-1]) <= 1


def test_the_centre_is_cut_out_of_the_resized_image():
    columns = np.repeat(np.arange(0, 240, 10, dtype=np.uint8), 2)[None].repeat(16, axis=0)
    # 16 x 48 with columns of two pixels: resized to 8 x 24, columns of one, of which 6 are kept.
    found = plain(6, 6, 1, resize=8)(columns)[..., 0]
    np.testing.assert_allclose(found, np.tile(np.arange(90, 150, 10), (6, 1)), atol=4)
    same = Image.fromarray(columns).resize((24, 8), Image.Resampling.BILINEAR).crop((9, 1, 15, 7))
    np.testing.assert_allclose(found, same, atol=4)


@pytest.mark.parametrize("shape", [(1, 1), (20_000, 3), (3, 20_000), (7, 5, 3), (5, 7, 4)])
@pytest.mark.parametrize("resize", [None, 5, 9])
def test_an_image_of_any_shape_is_taken(shape, resize):
    image = np.full(shape, 200, np.uint8)
    found = plain(5, 5, resize=resize)(image)
    assert found.shape == (5, 5, 3)
    assert abs(found - (200 if len(shape) == 2 or shape[2] == 3 else 212)).max() <= 1


def test_the_content_of_a_file_is_an_image_too():
    import io

    stream = io.BytesIO()
    Image.fromarray(RGB).save(stream, "png")
    np.testing.assert_array_equal(plain()(stream.getvalue()), RGB)
    assert errors(b"hello") == "the image is not an image of a format that Pillow knows"


def test_grey_becomes_colour_and_colour_grey():
    np.testing.assert_array_equal(plain()(GREY), np.repeat(GREY[..., None], 3, axis=2))
    np.testing.assert_array_equal(plain(channels=1)(GREY[..., None]), GREY[..., None])
    grey = plain(channels=1)(RGB)
    np.testing.assert_allclose(grey[..., 0], RGB @ [0.299, 0.587, 0.114], atol=1)


def test_behind_transparency_is_white():
    image = np.zeros((4, 5, 4), np.uint8)
    image[0, 0, 3] = 255
    result = plain()(image)
    assert result[0, 0].tolist() == [0, 0, 0]
    assert result[1, 1].tolist() == [255, 255, 255]


@pytest.mark.parametrize("image", [GREY, RGB, (GREY.astype(np.uint16) << 8) + 7])
def test_white_is_behind_the_colour_that_a_file_calls_transparent(image, tmp_path):
    key = image[1, 2]
    Image.fromarray(image).save(
        tmp_path / "a.png", transparency=int(key) if image.ndim == 2 else tuple(key.tolist())
    )
    expected = plain()(Image.fromarray(image))
    expected[1, 2] = 255
    np.testing.assert_array_equal(plain()(tmp_path / "a.png"), expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_every_usual_mode_is_read(mode, tmp_path):
    image = Image.fromarray(RGB).convert(mode)
    assert read(image).mode in ("L", "RGB")
    assert plain()(image).shape == (4, 5, 3)


def test_sixteen_bits_become_eight(tmp_path):
    Image.fromarray((GREY.astype(np.uint16) << 8) + 7).save(tmp_path / "a.png")
    np.testing.assert_array_equal(plain(channels=1)(tmp_path / "a.png")[..., 0], GREY)


def test_the_rotation_that_a_camera_notes_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif)
    result = plain(height=5, width=4)(tmp_path / "a.png")
    np.testing.assert_array_equal(result, np.rot90(RGB, -1))


def test_a_note_of_the_camera_that_cannot_be_read_rotates_nothing():
    image = Image.fromarray(RGB)
    for note in (3, b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0junk"):
        image.info["exif"] = note
        np.testing.assert_array_equal(np.asarray(read(image)), RGB)


def errors(image) -> str:
    with pytest.raises((ValueError, TypeError, FileNotFoundError)) as error:
        plain()(image)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_missing_file_is_named(tmp_path):
    assert errors(tmp_path / "a.png") == f"there is no image '{tmp_path}/a.png'"


def test_a_file_that_is_no_image_is_named(tmp_path):
    path = tmp_path / "a.png"
    path.write_text("hello")
    assert errors(path) == f"{path} is not an image of a format that Pillow knows"


def test_a_broken_image_is_named(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:3000])
    assert errors(path).startswith(f"{path} cannot be read as an image: ")


def test_what_pillow_cannot_convert_or_decompress_is_named(tmp_path, monkeypatch):
    assert errors(Image.new("La", (2, 2))).startswith("the image cannot be read as an image: ")

    for size in ((0, 0), (0, 3), (3, 0)):
        assert "it has no pixels" in errors(Image.new("RGB", size))
    marked = Image.new("RGB", (2, 2))
    marked.info["transparency"] = b"\0"
    assert errors(marked).startswith("the image cannot be read as an image: ")

    from PIL import PngImagePlugin

    text, path = PngImagePlugin.PngInfo(), tmp_path / "a.png"
    text.add_text("prompt", "a cat" * 100, zip=True)
    Image.fromarray(RGB).save(path, pnginfo=text)
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_CHUNK", 99)
    assert errors(path).startswith(f"{path} cannot be read as an image: ")


def test_an_image_too_large_is_named(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.fromarray(RGB).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    assert errors(path).startswith(f"{path} is too large: ")


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.zeros(4), "an image array has the shape [H, W] or [H, W, 1, 3 or 4]; got [4]"),
        (
            np.zeros((3, 4, 5)),
            "an image array has the shape [H, W] or [H, W, 1, 3 or 4]; got [3, 4, 5]",
        ),
        (np.zeros((0, 4)), "an image array must have pixels; got the shape [0, 4]"),
        (
            np.array([[0.0, 255.0]]),
            "an image array of floats has values from 0 to 1; got 0 to 255 (values up to 255 are "
            "given as uint8)",
        ),
        (
            np.array([[0.0, np.nan]]),
            "an image array of floats has values from 0 to 1; got nan to nan (values up to 255 are "
            "given as uint8)",
        ),
        (np.zeros((2, 2), np.int64), "an image array is of uint8 or floats; got int64"),
    ],
)
def test_an_array_that_is_no_image_is_refused(array, text):
    assert errors(array) == text


def test_values_without_a_known_range_are_refused():
    assert errors(Image.fromarray(np.ones((2, 2), np.float32))) == (
        "the image cannot be read as an image: its values have no known range (mode F)"
    )


def test_other_things_are_refused():
    assert errors(None) == "an image is a path, a Pillow image or an array; got NoneType: None"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"channels": 2}, "channels is 2; images have 1 (grey) or 3"),
        ({"height": 0}, "the image size 0 x 5 must be 1 or more"),
        (
            {"mean": (0.1, 0.2)},
            "mean is (0.1, 0.2) for 3 channel(s); give one number, or one for each channel",
        ),
        (
            {"resize": 4},
            "resize is 4; it must not be less than height and width, 4 x 5, which are cut out "
            "after it",
        ),
        ({"std": (0.0,)}, "std is (0.0,); values are divided by it, so it must be above 0"),
    ],
)
def test_fields_that_make_no_sense_are_refused(fields, text):
    with pytest.raises(ConfigError) as error:
        ImagePreprocessing(**{"height": 4, "width": 5, "channels": 3, **fields})
    assert str(error.value) == text


def test_preprocessing_needs_no_tensorflow():
    import subprocess

    script = "import sys, zoo.preprocessing; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
