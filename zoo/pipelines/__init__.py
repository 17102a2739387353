"""Input pipelines on tf.data. TensorFlow is imported when one is built, not before."""

from typing import TYPE_CHECKING

from zoo.lazy import attach

if TYPE_CHECKING:
    from zoo.pipelines.augment import Augmentation
    from zoo.pipelines.base import Data, DataConfig, Facts
    from zoo.pipelines.images import ImageClassificationData
    from zoo.pipelines.language import LanguageModelingData
    from zoo.pipelines.synthetic import CopyData
    from zoo.pipelines.tagging import TaggingData
    from zoo.pipelines.text import TextClassificationData
    from zoo.pipelines.translation import TranslationData

__all__ = [
    "Augmentation",
    "CopyData",
    "Data",
    "DataConfig",
    "Facts",
    "ImageClassificationData",
    "LanguageModelingData",
    "TaggingData",
    "TextClassificationData",
    "TranslationData",
]

__getattr__ = attach(
    __name__,
    {
        "Augmentation": "zoo.pipelines.augment:Augmentation",
        "CopyData": "zoo.pipelines.synthetic:CopyData",
        "Data": "zoo.pipelines.base:Data",
        "DataConfig": "zoo.pipelines.base:DataConfig",
        "Facts": "zoo.pipelines.base:Facts",
        "ImageClassificationData": "zoo.pipelines.images:ImageClassificationData",
        "LanguageModelingData": "zoo.pipelines.language:LanguageModelingData",
        "TaggingData": "zoo.pipelines.tagging:TaggingData",
        "TextClassificationData": "zoo.pipelines.text:TextClassificationData",
        "TranslationData": "zoo.pipelines.translation:TranslationData",
    },
)


def import_all() -> None:
    """Imports every pipeline, so that `config.from_dict` can find each config class by its name."""
    for name in __all__:
        __getattr__(name)
