"""The library inside a running event loop, as in a notebook or a server."""

from __future__ import annotations

import asyncio

ROWS = [(f"the ship number {n} sails", "sea") for n in range(8)]
ROWS += [(f"a plane number {n} flies", "sky") for n in range(8)]


def test_a_model_is_trained_loaded_and_asked_inside_an_event_loop(tmp_path):
    import zoo

    async def work():
        recipe = zoo.override(
            zoo.recipe("bag_of_embeddings_file"),
            {"model.num_buckets": 64, "steps": 2, "batch_size": 4},
        )
        result = zoo.fit(recipe, tmp_path / "run", data=ROWS, quiet=True)
        predictor = zoo.load(result.workdir)
        in_a_thread = await asyncio.to_thread(predictor, "the ship sails")
        return predictor("the ship sails"), in_a_thread

    here, in_a_thread = asyncio.run(work())
    assert here == in_a_thread
    assert here.label in here.probabilities
