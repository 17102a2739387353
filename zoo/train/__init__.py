"""Training: recipes and what they are made of, the loop, evaluation. `run` is also `zoo.fit`."""

import os
from typing import TYPE_CHECKING

from zoo.registry import attach

if TYPE_CHECKING:
    from zoo.storage.adapters import LoRA as LoRA
    from zoo.storage.checkpoints import Best as Best
    from zoo.train import losses as losses
    from zoo.train import metrics as metrics
    from zoo.train.callbacks import Callback as Callback
    from zoo.train.callbacks import MLflow as MLflow
    from zoo.train.callbacks import Report as Report
    from zoo.train.callbacks import Samples as Samples
    from zoo.train.callbacks import WeightsAndBiases as WeightsAndBiases
    from zoo.train.distributed import join as join
    from zoo.train.evaluation import evaluate as evaluate
    from zoo.train.loop import run as run
    from zoo.train.metrics import Metric as Metric
    from zoo.train.optimizers import SM3 as SM3
    from zoo.train.optimizers import Adafactor as Adafactor
    from zoo.train.optimizers import Adam as Adam
    from zoo.train.optimizers import Momentum as Momentum
    from zoo.train.optimizers import Optimizer as Optimizer
    from zoo.train.optimizers import RMSProp as RMSProp
    from zoo.train.optimizers import Sgd as Sgd
    from zoo.train.outcome import Interrupted as Interrupted
    from zoo.train.outcome import NonFiniteError as NonFiniteError
    from zoo.train.outcome import OtherProcessError as OtherProcessError
    from zoo.train.outcome import Result as Result
    from zoo.train.recipe import InitFrom as InitFrom
    from zoo.train.recipe import Recipe as Recipe
    from zoo.train.reinforcement.episodes import Episodes as Episodes
    from zoo.train.schedules import Constant as Constant
    from zoo.train.schedules import Cosine as Cosine
    from zoo.train.schedules import Linear as Linear
    from zoo.train.schedules import OneCycle as OneCycle
    from zoo.train.schedules import Piecewise as Piecewise
    from zoo.train.schedules import Schedule as Schedule
    from zoo.train.schedules import Staircase as Staircase
    from zoo.train.schedules import WarmupRsqrt as WarmupRsqrt
    from zoo.train.seeds import SeedResults as SeedResults
    from zoo.train.seeds import run_seeds as run_seeds
    from zoo.train.sharding import MeshConfig as MeshConfig
    from zoo.train.tasks import A2C as A2C
    from zoo.train.tasks import AWR as AWR
    from zoo.train.tasks import PPO as PPO
    from zoo.train.tasks import Control as Control
    from zoo.train.tasks import ImageClassification as ImageClassification
    from zoo.train.tasks import LanguageModeling as LanguageModeling
    from zoo.train.tasks import Reinforce as Reinforce
    from zoo.train.tasks import Several as Several
    from zoo.train.tasks import Tagging as Tagging
    from zoo.train.tasks import Task as Task
    from zoo.train.tasks import TextClassification as TextClassification
    from zoo.train.tasks import Translation as Translation
else:
    __getattr__, __dir__, __all__ = attach(__name__)

# CLU imports TensorFlow, which greets on standard error otherwise. A setting of the user's stays.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
