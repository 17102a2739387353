"""The same models in PyTorch, and their training steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def steps(
    case: Any, batch: dict[str, Any], mode: str, dtype: str, device: str, threads: int
) -> Callable[[int], float]:
    """Makes a number of PyTorch's steps on a batch; returns the last loss.

    Args:
      case: what is trained, see `train_step.Case`.
      batch: on what.
      mode: `eager`, `compiled` or, for images, `channels_last`.
      dtype: `float32`, or `bfloat16` by autocast.
      device: `cpu` or `cuda`.
      threads: of its operations.
    """
    import torch
    from torch.nn import functional

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    config = case.config
    model = MODELS[type(config).__name__](config).to(device).train()
    inputs = torch.tensor(batch["inputs"], device=device)
    if inputs.is_floating_point():
        inputs = inputs.permute(0, 3, 1, 2).contiguous()
    else:
        inputs = inputs.long()
    if mode == "channels_last":
        inputs = inputs.to(memory_format=torch.channels_last)
        model = model.to(memory_format=torch.channels_last)
    targets = torch.tensor(batch["targets"], device=device).long()
    arguments = case.task.arguments({"inputs": inputs, "targets": targets})
    parameters = list(model.parameters())
    rate = case.optimizer.learning_rate
    if type(case.optimizer).__name__ == "Adam":
        optimizer: Any = torch.optim.Adam(parameters, lr=rate, fused=True)
    else:
        optimizer = torch.optim.SGD(
            parameters, lr=rate, momentum=0.9, nesterov=True, weight_decay=5e-4
        )
    forward = torch.compile(model) if mode == "compiled" else model
    clip = case.optimizer.clip_norm

    def step() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == "bfloat16"):
            logits = forward(*arguments)
            loss = functional.cross_entropy(
                logits.flatten(0, -2), targets.flatten(), label_smoothing=case.task.label_smoothing
            )
        loss.backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()
        return loss

    def run(number: int) -> float:
        for _ in range(number):
            loss = step()
        return loss.item()

    return run


def translation(config: Any) -> Any:
    """That of a `TransformerConfig`: (source, target) -> logits. Norms stand first, as in ours."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Translation(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(config.vocab_size, config.d_model)
            self.source_positions = nn.Parameter(0.02 * torch.randn(config.max_len, config.d_model))
            self.target_positions = nn.Parameter(0.02 * torch.randn(config.max_len, config.d_model))
            self.dropout = nn.Dropout(config.dropout_rate)
            self.transformer = nn.Transformer(
                d_model=config.d_model,
                nhead=config.num_heads,
                num_encoder_layers=config.num_encoder_layers,
                num_decoder_layers=config.num_decoder_layers,
                dim_feedforward=config.d_ff,
                dropout=config.dropout_rate,
                activation=config.activation,
                batch_first=True,
                norm_first=True,
            )
            self.logits = nn.Linear(config.d_model, config.vocab_size)

        def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            target, length = functional.pad(target, (1, -1)), target.shape[1]
            future = torch.ones(length, length, dtype=torch.bool, device=target.device).triu(1)
            padding = source == config.pad_id
            x = self.transformer(
                self.dropout(self.embedding(source) + self.source_positions[: source.shape[1]]),
                self.dropout(self.embedding(target) + self.target_positions[:length]),
                tgt_mask=future,
                src_key_padding_mask=padding,
                memory_key_padding_mask=padding,
                tgt_is_causal=True,
            )
            return self.logits(x)

    return Translation()


def language_model(config: Any) -> Any:
    """That of a `RecurrentLMConfig`: tokens -> logits."""
    import torch
    from torch import nn
    from torch.nn import functional

    class LanguageModel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            width = config.d_model
            self.embedding = nn.Embedding(config.vocab_size, width)
            self.dropout = nn.Dropout(config.dropout_rate)
            self.lstm = nn.LSTM(
                width, width, config.num_layers, batch_first=True, dropout=config.dropout_rate
            )
            self.logits = nn.Linear(width, config.vocab_size)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            x, _ = self.lstm(self.dropout(self.embedding(functional.pad(tokens, (1, -1)))))
            return self.logits(self.dropout(x))

    return LanguageModel()


def resnet(config: Any) -> Any:
    """That of a `ResNetConfig` for CIFAR: images [B, C, H, W] -> logits."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self, before: int, features: int, stride: int) -> None:
            super().__init__()
            self.stride, self.more = stride, features - before
            self.conv_0 = nn.Conv2d(before, features, 3, stride, 1, bias=False)
            self.norm_0 = nn.BatchNorm2d(features)
            self.conv_1 = nn.Conv2d(features, features, 3, 1, 1, bias=False)
            self.norm_1 = nn.BatchNorm2d(features)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = functional.relu(self.norm_0(self.conv_0(x)))
            y = self.norm_1(self.conv_1(y))
            if self.more:
                x = x[:, :, :: self.stride, :: self.stride]
                x = functional.pad(x, (0, 0, 0, 0, 0, self.more))
            return functional.relu(x + y)

    class ResNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            width, before = config.width, config.width
            blocks = []
            for stage, number in enumerate(config.stage_sizes):
                for block in range(number):
                    features = width * 2**stage
                    blocks.append(Block(before, features, 2 if stage and not block else 1))
                    before = features
            self.stem = nn.Conv2d(3, width, 3, 1, 1, bias=False)
            self.norm = nn.BatchNorm2d(width)
            self.blocks = nn.Sequential(*blocks)
            self.head = nn.Linear(before, config.num_classes)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.blocks(functional.relu(self.norm(self.stem(x))))
            return self.head(x.mean(dim=(2, 3)))

    return ResNet()


MODELS = {
    "TransformerConfig": translation,
    "RecurrentLMConfig": language_model,
    "ResNetConfig": resnet,
}
