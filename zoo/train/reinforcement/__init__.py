"""The parts of reinforcement learning: estimators, objectives, roll-outs and replay.

The algorithms are tasks, in `zoo.train.tasks.reinforcement`.
"""
