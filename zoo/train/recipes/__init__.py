"""The recipes. Importing this package imports none: it says which module defines which name."""

from zoo import registry

registry.recipes.declare(
    {
        "zoo.train.recipes.tagging": ("lstm_ner", "reformer_ner"),
        "zoo.train.recipes.text_classification": (
            "bag_of_embeddings_ag_news",
            "bag_of_embeddings_file",
            "bag_of_embeddings_imdb",
            "bag_of_embeddings_imdb_trax",
            "lstm_imdb",
            "text_classification",
        ),
        "zoo.train.recipes.image_classification": (
            "image_classification",
            "mlp_digits",
            "mlp_mnist",
            "resnet20_cifar10",
            "resnet20_cifar10_cpu",
            "resnet50_imagenet",
            "resnet_folder",
            "wide_resnet_cifar10",
        ),
        "zoo.train.recipes.language_modeling": (
            "lstm_shakespeare",
            "reformer_copy",
            "reformer_lm_text",
            "reformer_long",
            "reformer_shakespeare",
            "transformer_lm1b",
            "transformer_lm_text",
            "transformer_shakespeare",
            "transformer_shakespeare_large",
        ),
        "zoo.train.recipes.translation": (
            "lstm_seq2seq_multi30k",
            "transformer_copy",
            "transformer_ende_small",
            "transformer_multi30k",
            "transformer_wmt_ende",
        ),
    }
)
