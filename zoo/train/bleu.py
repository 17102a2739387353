"""BLEU (Papineni et al. 2002), always by sacrebleu (Post 2018), so that figures are comparable."""

from __future__ import annotations

from collections.abc import Sequence

from zoo.config import ValueMistake


def corpus_bleu(translations: Sequence[str], references: Sequence[str]) -> tuple[float, str]:
    """BLEU of untokenised sentences, from 0 to 100, and the signature of sacrebleu's settings.

    Raises:
      ValueError: the numbers of sentences differ, or there are none.
    """
    from sacrebleu.metrics.bleu import BLEU

    if len(translations) != len(references) or not translations:
        raise ValueMistake(
            f"{len(translations)} translations and {len(references)} references; "
            "BLEU needs one reference for each translation, and at least one of them"
        )
    metric = BLEU()
    score = metric.corpus_score(list(translations), [list(references)]).score
    return float(score), str(metric.get_signature())
