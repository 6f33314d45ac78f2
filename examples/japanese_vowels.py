"""Nine speakers by their vowels: a bidirectional LSTM over sequences of 7 to 29 steps.

    FASTNN_DATA=folder python examples/japanese_vowels.py

One vowel pair is a sequence of 12 cepstral coefficients; 270 to learn from, 370 to test. They
are padded to 29 steps, and `lengths` says how many count: no step past a sequence's end is
computed, and none reaches the maxima over a sequence, which a linear layer reads. Dropout of
the coefficients and maxima, not means, were chosen by cross-validation on the 270.

Of the 370, 97.57% to 98.92% are right with ten seeds, 98.16% on average; a network learns in
one second on a Zen 4 core. It ends with 1 where one has less than 96%.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastnn
from fastnn import nn, optim
from fastnn.optim.lr_scheduler import OneCycleLR
from fastnn.train import LRSchedule, Trainer

FILE = "japanese_vowels.npz"
BATCH, RATE = 30, 0.005


class Split(NamedTuple):
    """Sequences, padded, with their lengths and speakers."""

    x: fastnn.Tensor  # (n, 29, 12)
    lengths: fastnn.Tensor
    speakers: fastnn.Tensor


def japanese_vowels(root: str | None) -> tuple[Split, Split]:
    """Training and test sequences, from japanese_vowels.npz in root or FASTNN_DATA."""
    places = [p for p in (root, os.environ.get("FASTNN_DATA")) if p]
    found = [p for p in (Path(place) / FILE for place in places) if p.is_file()]
    if not found:
        raise FileNotFoundError(
            f"expected {FILE} in --root or $FASTNN_DATA, looked in {places}: arrays "
            "x_train (270, 29, 12), lengths_train, y_train, and the same of test"
        )
    with np.load(found[0]) as file:
        splits = [
            Split(*(fastnn.tensor(file[f"{k}_{part}"]) for k in ("x", "lengths", "y")))
            for part in ("train", "test")
        ]
    return splits[0], splits[1]


class Speaker(nn.Module):
    """Both directions of an LSTM, maxima over the steps there are, nine classes."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(
            12,
            hidden,
            batch_first=True,
            bidirectional=True,
            recurrent_init="orthogonal",
        )
        self.pool = nn.SequencePooling("max", batch_first=True)
        self.dropout = nn.Dropout(0.3)
        self.readout = nn.Linear(2 * hidden, 9)

    def forward(self, x: fastnn.Tensor, lengths: fastnn.Tensor) -> fastnn.Tensor:
        """Scores of the nine speakers."""
        y, _ = self.lstm(self.dropout(x), lengths=lengths)
        return self.readout(self.dropout(self.pool(y, lengths)))


def standardised(train: Split, test: Split) -> tuple[Split, Split]:
    """Each coefficient with mean 0 and deviation 1 over the steps of the training set."""
    there = fastnn.arange(train.x.shape[1]) < train.lengths.reshape(-1, 1)
    steps = train.x[there]
    mean, deviation = steps.mean(0), steps.std(0)
    made = [s._replace(x=(s.x - mean) / deviation) for s in (train, test)]
    return made[0], made[1]


def learn(train: Split, seed: int, epochs: int, hidden: int) -> Trainer:
    """Fit one network."""
    fastnn.manual_seed(seed)
    model = Speaker(hidden)
    optimizer = optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    trainer = Trainer(model, loss, optimizer, ["accuracy"], clip_grad_norm=1.0)
    batches = -(-len(train.speakers) // BATCH)
    rate = OneCycleLR(optimizer, RATE, epochs=epochs, steps_per_epoch=batches)
    trainer.fit(
        ((train.x, train.lengths), train.speakers),
        batch_size=BATCH,
        shuffle=True,
        epochs=epochs,
        callbacks=[LRSchedule(rate, "batch")],
        verbose=False,
    )
    return trainer


def main() -> int:
    """Learn from several seeds; 1 where a network misses 96% of the test set."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", help=f"folder of {FILE}")
    parser.add_argument("--seeds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=40, help="default: %(default)s")
    parser.add_argument("--hidden", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--threads", type=int, help="default: one a core")
    options = parser.parse_args()
    if options.threads:
        fastnn.set_num_threads(options.threads)
    train, test = standardised(*japanese_vowels(options.root))
    print("seed     loss  test sequences right  seconds")
    found: list[float] = []
    for seed in range(options.seeds):
        began = time.perf_counter()
        trainer = learn(train, seed, options.epochs, options.hidden)
        result: Any = trainer.evaluate(
            ((test.x, test.lengths), test.speakers), batch_size=len(test.speakers)
        )
        found.append(result["accuracy"])
        print(
            f"{seed:4}  {trainer.history['loss'][-1]:7.4f}  {found[-1]:20.2%}"
            f"  {time.perf_counter() - began:7.1f}",
            flush=True,
        )
    print(
        f"mean {sum(found) / len(found):.2%}, lowest {min(found):.2%} of "
        f"{len(test.speakers)} test sequences"
    )
    if min(found) < 0.96:
        print("NOT AS PROMISED: a network does not reach 96%")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
