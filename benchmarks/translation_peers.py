"""The peers of decode.py: CTranslate2 with our weights, and Hugging Face's Marian of our size.

Both take lists of ids and give lists of ids.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

from zoo.models.transformer import TransformerConfig

START, EOS = 0, 1
"""The id before the first token, and that of the end, as in the zoo."""

Ids = list[int]
Translate = Callable[[list[Ids], int, int], list[Ids]]
"""(sources, beam size, new tokens) -> the best translation of each."""


def ctranslate2_translator(
    config: TransformerConfig, params: Any, compute_type: str, device: str, threads: int
) -> Translate:
    """CTranslate2 with the weights of a `Transformer`, in one of its own precisions."""
    import ctranslate2

    with tempfile.TemporaryDirectory() as folder:
        spec = ctranslate2_spec(config, params)
        spec.validate()
        spec.optimize()
        spec.save(folder)
        translator = ctranslate2.Translator(
            folder, device=device, compute_type=compute_type, intra_threads=threads
        )

    def translate(sources: list[Ids], beam_size: int, new_tokens: int) -> list[Ids]:
        results = translator.translate_batch(
            [[str(token) for token in source] for source in sources],
            beam_size=beam_size,
            max_decoding_length=new_tokens,
        )
        return [[int(token) for token in result.hypotheses[0]] for result in results]

    return translate


def ctranslate2_spec(config: TransformerConfig, params: Any) -> Any:
    """Our parameters as CTranslate2's converters describe a model: a token is its id as text."""
    from ctranslate2.specs import TransformerSpec

    spec = TransformerSpec.from_config(
        (config.num_encoder_layers, config.num_decoder_layers), config.num_heads, pre_norm=True
    )
    spec.config.layer_norm_epsilon = 1e-6
    spec.config.decoder_start_token = spec.config.bos_token = str(START)
    spec.config.eos_token, spec.config.unk_token = str(EOS), str(EOS + 1)
    words = [str(token) for token in range(config.size_of("vocab_size"))]
    spec.register_source_vocabulary(words)
    spec.register_target_vocabulary(words)
    for side, stack in ((spec.encoder, params["encoder"]), (spec.decoder, params["decoder"])):
        side.scale_embeddings = False
        side.position_encodings.encodings = np.asarray(stack["positions"])
        _set_norm(side.layer_norm, stack["norm"])
        for number, layer in enumerate(side.layer):
            _set_block(layer, stack[f"block_{number}"])
    spec.encoder.embeddings[0].weight = np.asarray(params["embedding"]["embedding"])
    spec.decoder.embeddings.weight = np.asarray(params["embedding"]["embedding"])
    _set_linear(spec.decoder.projection, params["logits"])
    return spec


def _set_block(layer: Any, block: Any) -> None:
    own = block["attention"]
    _set_norm(layer.self_attention.layer_norm, block["attention_norm"])
    _set_linear(layer.self_attention.linear[0], own["query"], own["key"], own["value"])
    _set_linear(layer.self_attention.linear[1], own["out"])
    if "cross_attention" in block:
        cross = block["cross_attention"]
        _set_norm(layer.attention.layer_norm, block["cross_attention_norm"])
        _set_linear(layer.attention.linear[0], cross["query"])
        _set_linear(layer.attention.linear[1], cross["key"], cross["value"])
        _set_linear(layer.attention.linear[2], cross["out"])
    _set_norm(layer.ffn.layer_norm, block["mlp_norm"])
    _set_linear(layer.ffn.linear_0, block["mlp"]["up"])
    _set_linear(layer.ffn.linear_1, block["mlp"]["down"])


def _set_norm(spec: Any, norm: Any) -> None:
    spec.gamma, spec.beta = np.asarray(norm["scale"]), np.asarray(norm["bias"])


def _set_linear(spec: Any, *layers: Any) -> None:
    """One matrix [outputs, inputs] of all layers, one below the other."""
    spec.weight = np.concatenate([np.asarray(layer["kernel"]).T for layer in layers])
    spec.bias = np.concatenate([np.asarray(layer["bias"]) for layer in layers])


def marian_translator(config: TransformerConfig, device: str, threads: int) -> Translate:
    """`MarianMTModel` with random weights; its norms stand behind the sublayers, not before."""
    import torch
    from transformers import MarianConfig, MarianMTModel

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = MarianMTModel(
        MarianConfig(
            vocab_size=config.size_of("vocab_size"),
            d_model=config.d_model,
            encoder_layers=config.num_encoder_layers,
            decoder_layers=config.num_decoder_layers,
            encoder_attention_heads=config.num_heads,
            decoder_attention_heads=config.num_heads,
            encoder_ffn_dim=config.d_ff,
            decoder_ffn_dim=config.d_ff,
            activation_function=config.activation,
            pad_token_id=START,
            decoder_start_token_id=START,
            eos_token_id=EOS,
            forced_eos_token_id=None,
        )
    )
    model.final_logits_bias[:, EOS] = NEVER
    model.eval().to(device)

    @torch.inference_mode()
    def translate(sources: list[Ids], beam_size: int, new_tokens: int) -> list[Ids]:
        inputs = torch.tensor(sources, device=device)
        found = model.generate(
            inputs,
            attention_mask=torch.ones_like(inputs),
            num_beams=beam_size,
            do_sample=False,
            max_new_tokens=new_tokens,
        )
        return [row[1:] for row in found.tolist()]  # the first is START

    return translate


NEVER = -1e9
"""The bias of a token that is never to be chosen."""
