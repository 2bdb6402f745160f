"""A worker of `next_item_epochs.py`: RecTools's SASRec, an epoch of training per line that it is sent.

Runs in `.venv-rectools` (see setup.sh). Its argument is JSON: "events" (a CSV file of users and items, in
the order of time), "threads", "epochs", "seed", and the arguments of RecTools's `SASRecModel`. It answers that
it is ready, and then each line with the wall and CPU seconds of an epoch and its loss. What comes once before
the first epoch, such as RecTools's processing of the events, is not in them.
"""

import json
import sys
import time
import warnings

import pandas as pd
import pytorch_lightning
import torch
from pytorch_lightning.callbacks import Callback
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from rectools.models.nn.transformers.lightning import TransformerLightningModule


def answer(**values):
    print(json.dumps(values), flush=True)


class EpochOnDemand(Callback):
    """Waits for a line before each epoch, and answers it after."""

    def on_train_epoch_start(self, trainer, module):
        if not sys.stdin.readline():
            sys.exit()
        self.start = time.perf_counter(), time.process_time()

    def on_train_epoch_end(self, trainer, module):
        wall, cpu = time.perf_counter() - self.start[0], time.process_time() - self.start[1]
        loss = float(trainer.callback_metrics[module.train_loss_name])
        answer(seconds=wall, cpu_seconds=cpu, loss=loss, steps=trainer.num_training_batches)


def main():
    settings = json.loads(sys.argv[1])
    torch.set_num_threads(settings["threads"])
    pytorch_lightning.seed_everything(settings["seed"], verbose=False)
    events = pd.read_csv(settings["events"])
    events = events.rename(columns={"user": Columns.User, "item": Columns.Item})
    events[Columns.Weight] = 1.0
    events[Columns.Datetime] = pd.to_datetime(range(len(events)), unit="s")
    dataset = Dataset.construct(events)

    def trainer():
        return pytorch_lightning.Trainer(
            accelerator="cpu",
            max_epochs=settings["epochs"],
            callbacks=[EpochOnDemand()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    model = SASRecModel(**settings["model"], get_trainer_func=trainer)
    assert model.lightning_module_type is TransformerLightningModule
    answer(torch=torch.__version__, items=dataset.item_id_map.size, users=dataset.user_id_map.size)
    model.fit(dataset)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
