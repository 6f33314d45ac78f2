"""Additive attention (Bahdanau, Cho, Bengio, arXiv:1409.0473): a network looks things up.

    python examples/additive_attention.py

Every sample is a list of pairs, a letter and a digit, and one of its letters; the digit
beside it is the answer. The score of each pair is v . tanh(W query + U key), the weights are
the softmax of the scores, and the answer is read off the weighted sum of the pairs. Nothing
says where to look: in the end nearly all the weight is on the one right pair. Without
attention, on the mean of all pairs, the same network only guesses among the digits there.
"""

import argparse

import fastnn
from fastnn import nn, optim
from fastnn.nn import functional as F

LETTERS, DIGITS, PAIRS = 12, 10, 6


class AdditiveAttention(nn.Module):
    """Weights over keys by v . tanh(W query + U key), and the weighted sum of values."""

    def __init__(self, query_size, key_size, hidden):
        super().__init__()
        self.query = nn.Linear(query_size, hidden)  # W, and the bias of both
        self.key = nn.Linear(key_size, hidden, bias=False)  # U
        self.score = nn.Linear(hidden, 1, bias=False)  # v

    def forward(self, query, keys, values, mask=None):
        """(n, q), (n, s, k), (n, s, d) to (n, d) and weights (n, s). mask (n, s): bool, True
        takes part."""
        hidden = fastnn.tanh(self.query(query).unsqueeze(1) + self.key(keys))
        scores = self.score(hidden).squeeze(-1)
        if mask is not None:
            scores = fastnn.where(mask, scores, -float("inf"))
        weights = F.softmax(scores, dim=-1)
        return (weights.unsqueeze(1) @ values).squeeze(1), weights


class LookUp(nn.Module):
    """The answer's logits, and where the network looked."""

    def __init__(self, attend, hidden=64):
        super().__init__()
        pair = LETTERS + DIGITS
        self.attention = AdditiveAttention(LETTERS, pair, hidden) if attend else None
        self.answer = nn.Sequential(
            nn.Linear(pair + LETTERS, hidden), nn.ReLU(), nn.Linear(hidden, DIGITS)
        )

    def forward(self, query, pairs):
        if self.attention is None:
            found, weights = pairs.mean(1), None
        else:
            found, weights = self.attention(query, pairs, pairs)
        return self.answer(fastnn.cat([found, query], 1)), weights


def draw(count):
    """Queries, pairs, the answers and where they are."""
    letters = fastnn.rand(count, LETTERS).argsort(dim=1)[:, :PAIRS]  # no letter twice
    digits = fastnn.randint(DIGITS, (count, PAIRS))
    at = fastnn.randint(PAIRS, (count, 1))
    pairs = fastnn.cat([F.one_hot(letters, LETTERS), F.one_hot(digits, DIGITS)], 2)
    query = F.one_hot(letters.gather(1, at).squeeze(1), LETTERS)
    return query.float(), pairs.float(), digits.gather(1, at).squeeze(1), at


def train(model, steps, batch=128):
    """The share of answers that are right, and the mean weight on the right pair."""
    optimizer = optim.Adam(model.parameters(), lr=0.01)

    @fastnn.compile
    def step(query, pairs, answer):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(query, pairs)[0], answer)
        loss.backward()
        optimizer.step()
        return loss

    for i in range(steps):
        query, pairs, answer, _ = draw(batch)
        loss = step(query, pairs, answer)
        if i == 0 or (i + 1) % (steps // 4 or 1) == 0:
            print(f"    step {i + 1:4}: loss {loss.item():.4f}")
    with fastnn.no_grad():
        query, pairs, answer, at = draw(2000)
        logits, weights = model(query, pairs)
        right = (logits.argmax(dim=1) == answer).float().mean().item()
        there = None if weights is None else weights.gather(1, at).mean().item()
    return right, there


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    fastnn.manual_seed(arguments.seed)
    print("With additive attention:")
    right, there = train(LookUp(True), arguments.steps)
    print(
        f"  {right:.1%} right; {there:.1%} of the weight on the pair that was asked for"
    )
    print("With the mean of all pairs:")
    guessed, _ = train(LookUp(False), arguments.steps)
    print(f"  {guessed:.1%} right")
    return 0 if right > 0.95 and there > 0.8 and right > guessed else 1


if __name__ == "__main__":
    raise SystemExit(main())
