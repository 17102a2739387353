"""What is done to training images: worked examples, bounds, and the same images for one seed."""

from __future__ import annotations

import numpy as np
import pytest

from zoo.config import ConfigError
from zoo.pipelines import augment
from zoo.pipelines.augment import ASPECT, Augmentation, Draws
from zoo.pipelines.delivery import generator

IMAGES = np.arange(1, 1 + 64 * 4 * 5 * 3).reshape(64, 4, 5, 3)


def random(number: int = 0) -> np.random.Generator:
    return generator(0, number)


def draws(rows: int, number: int = 0) -> Draws:
    return Draws(random(number), rows, np.arange(rows))


def mixing(rows: int, number: int = 0) -> Draws:
    """Those of a batch whose images are mixed: the last one comes before the first."""
    return Draws(random(number), rows, np.arange(-1, rows))


def test_padding_and_cutting_moves_each_image():
    moved = augment.pad_and_crop(IMAGES, 2, draws(64))
    padded = np.pad(IMAGES, [(0, 0), (2, 2), (2, 2), (0, 0)], mode="reflect")
    places = set()
    for image, found in zip(padded, moved, strict=True):
        ((top, left),) = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if np.array_equal(image[top : top + 4, left : left + 5], found)
        ]
        places.add((top, left))
    assert len(places) > 15  # of 25


def test_half_of_the_images_are_mirrored():
    found = augment.flip(IMAGES, draws(64))
    mirrored = (found == IMAGES[:, :, ::-1]).all(axis=(1, 2, 3))
    same = (found == IMAGES).all(axis=(1, 2, 3))
    assert (mirrored ^ same).all()
    assert 20 < mirrored.sum() < 44


@pytest.mark.parametrize("size", [(30, 20), (20, 30), (1, 1), (2000, 3)])
@pytest.mark.parametrize("area", [0.08, 0.5, 1.0])
def test_a_random_part_lies_inside_and_is_large_enough(size, area):
    width, height = size
    for number in range(20):
        left, top, right, bottom = augment.random_box(width, height, area, random(number))
        assert 0 <= left < right <= width and 0 <= top < bottom <= height
        across, down = right - left, bottom - top
        assert max(across / down, down / across) <= ASPECT * 1.0001
        if max(size) / min(size) <= ASPECT * 1.2:
            assert across * down >= area * width * height * 0.8


def test_mixup_mixes_neighbours_and_their_targets_by_one_share():
    images = np.zeros((3, 2, 2, 1), np.float32)
    images[1] = 100
    shares = np.eye(3, dtype=np.float32)
    mixed, targets = augment.mixup(images[range(-1, 3)], shares[range(-1, 3)], 0.5, mixing(3))
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(mixed[1], 100 * targets[1, 1], rtol=1e-6)
    np.testing.assert_allclose(mixed[2], 100 * targets[2, 1], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(mixed[0], 0)
    assert (targets[[0, 1, 2], [1, 2, 0]] == 0).all()


def test_cutmix_takes_a_rectangle_and_its_share_of_the_target():
    images = np.repeat(np.arange(40.0, dtype=np.float32), 8 * 9).reshape(40, 8, 9, 1)
    shares = np.eye(40, dtype=np.float32)
    mixed, targets = augment.cutmix(
        *((x[range(-1, 40)]) for x in (images, shares)), 1.0, mixing(40)
    )
    areas = []
    for number in range(40):
        other = mixed[number, :, :, 0] != number
        assert (mixed[number][other] == (number - 1) % 40).all()
        rows, columns = other.any(axis=1), other.any(axis=0)
        np.testing.assert_array_equal(other, rows[:, None] & columns)
        assert targets[number, number] == pytest.approx(1 - other.mean(), abs=1e-6)
        assert targets[number, number - 1] == pytest.approx(other.mean(), abs=1e-6)
        areas.append(other.mean())
    assert 0.1 < np.mean(areas) < 0.6


def test_with_both_each_batch_has_one_of_them():
    images = np.full((4, 6, 6, 1), np.arange(4)[:, None, None, None], np.uint8)
    both = Augmentation(mixup=1.0, cutmix=1.0)
    kinds = set()
    for number in range(12):
        rows = mixing(4, number)
        mixed, targets = both(images[rows.rows], rows.rows % 4, 4, rows)
        assert mixed.dtype == targets.dtype == np.float32
        kinds.add(bool((mixed == np.round(mixed)).all()))
    assert kinds == {True, False}


def test_without_mixing_bytes_and_class_numbers_stay():
    images, targets = np.zeros((4, 6, 6, 1), np.uint8), np.arange(4, dtype=np.int32)
    found, same = Augmentation(pad=1, flip=True)(images, targets, 4, draws(4))
    assert found.dtype == np.uint8 and found.shape == images.shape
    assert same is targets


@pytest.mark.parametrize("fields", [{"pad": 1, "flip": True}, {"mixup": 0.3}, {"cutmix": 1.0}])
def test_what_happens_to_a_row_does_not_depend_on_which_rows_are_at_hand(fields):
    images = np.random.default_rng(0).integers(0, 255, (8, 6, 6, 1)).astype(np.uint8)
    change, targets = Augmentation(**fields), np.arange(8)
    skipped = 1 if change.mixes else 0

    def changed(first: int, last: int):
        rows = np.arange(first - skipped, last)
        return change(images[rows], targets[rows], 8, Draws(random(), 8, rows))

    for whole, left, right in zip(changed(0, 8), changed(0, 5), changed(5, 8), strict=True):
        np.testing.assert_array_equal(np.concatenate([left, right]), whole)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"crop_area": 0.0}, "crop_area is 0.0; it must be in (0, 1]"),
        ({"pad": -1}, "pad is -1; it must be 0 or more"),
        ({"mixup": -0.5}, "mixup is -0.5; it must be 0 or more"),
    ],
)
def test_values_that_make_no_sense_are_refused(fields, text):
    with pytest.raises(ConfigError) as error:
        Augmentation(**fields)
    assert str(error.value) == text
