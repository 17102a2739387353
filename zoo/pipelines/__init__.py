"""Input pipelines: from files, TFDS data sets or rows in memory to batches of NumPy arrays.

A config (`DataConfig`) is opened into `Data`. Its rows go through these steps:

1. `sources` reads the rows of each split;
2. rows that are not wanted are left out, so that nothing later works on them;
3. what is slow and not random (tokenizing, decoding images) is done once and kept in memory;
4. `rows` plans the batches of each epoch as row numbers: the order is a function of (seed, step),
   so a run can be resumed at any step without a saved iterator;
5. a process fetches the rows that it holds, pads them, and makes its random changes (`delivery`).

With `cache=False` the rows of a TFDS data set stream through `tf.data` instead (`ops`), which
shuffles within a buffer. TensorFlow is imported only for what is read with it (`tfdata`).
"""

import sys
from typing import TYPE_CHECKING

from zoo.registry import attach

if TYPE_CHECKING:
    from zoo.pipelines.arrays import ArrayData as ArrayData
    from zoo.pipelines.augment import Augmentation as Augmentation
    from zoo.pipelines.base import Data as Data
    from zoo.pipelines.base import DataConfig as DataConfig
    from zoo.pipelines.base import Facts as Facts
    from zoo.pipelines.images import ImageClassificationData as ImageClassificationData
    from zoo.pipelines.language import LanguageModelingData as LanguageModelingData
    from zoo.pipelines.mixture import Mixture as Mixture
    from zoo.pipelines.mixture import Part as Part
    from zoo.pipelines.sources.formats import file_format as file_format
    from zoo.pipelines.synthetic import CopyData as CopyData
    from zoo.pipelines.tagging import TaggingData as TaggingData
    from zoo.pipelines.text import TextClassificationData as TextClassificationData
    from zoo.pipelines.translation import TranslationData as TranslationData
else:
    __getattr__, __dir__, __all__ = attach(__name__)


def import_all() -> None:
    """Imports every pipeline, so that `config.from_dict` can find each config class by its name."""
    package = sys.modules[__name__]
    for name in dir(package):
        getattr(package, name)
