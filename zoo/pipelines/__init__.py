"""Input pipelines on tf.data. TensorFlow is imported when one is built, not before."""

from typing import TYPE_CHECKING

from zoo.registry import attach

if TYPE_CHECKING:
    from zoo.pipelines.augment import Augmentation as Augmentation
    from zoo.pipelines.base import Data as Data
    from zoo.pipelines.base import DataConfig as DataConfig
    from zoo.pipelines.base import Facts as Facts
    from zoo.pipelines.images import ImageClassificationData as ImageClassificationData
    from zoo.pipelines.language import LanguageModelingData as LanguageModelingData
    from zoo.pipelines.synthetic import CopyData as CopyData
    from zoo.pipelines.tagging import TaggingData as TaggingData
    from zoo.pipelines.text import TextClassificationData as TextClassificationData
    from zoo.pipelines.translation import TranslationData as TranslationData

__getattr__, __dir__, __all__ = attach(
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
