"""Metrics against NumPy by hand and scikit-learn where installed; batches and the whole."""

import math

import numpy as np
import pytest

import fastnn
from fastnn import train
from fastnn.train.metrics import named

N, C = 203, 5


def scores(seed=0, n=N, c=C):
    """Scores (n, c) that are right more often than not, and labels; some class rare."""
    random = np.random.default_rng(seed)
    labels = random.choice(c, size=n, p=[0.4, 0.3, 0.2, 0.1] + [0.0] * (c - 4))
    output = random.standard_normal((n, c)).astype(np.float32)
    output[np.arange(n), labels] += 1
    output[:, c - 1] -= 10  # never chosen, and never true
    return output, labels


def streamed(metric, output, target, sizes=(1, 7, 64, 200)):
    """The metric over pieces of the data."""
    start = 0
    for size in (*sizes, len(output)):
        piece = slice(start, min(start + size, len(output)))
        if piece.start < piece.stop:
            metric.update(tensor(output[piece]), tensor(target[piece]))
        start = piece.stop
    return value(metric)


def value(metric):
    found = metric.compute()
    return np.array(found.tolist()) if isinstance(found, fastnn.Tensor) else found


def tensor(array):
    return fastnn.tensor(np.ascontiguousarray(array))


def counts(output, labels):
    """The confusion matrix, counted one by one."""
    matrix = np.zeros((output.shape[1],) * 2)
    for row, label in zip(output, labels, strict=True):
        matrix[label, int(np.argmax(row))] += 1
    return matrix


def by_hand(kind, matrix, average, zero=0.0):
    right, chosen, true = np.diag(matrix), matrix.sum(0), matrix.sum(1)
    over, under = {
        "precision": (right, chosen),
        "recall": (right, true),
        "f1": (2 * right, chosen + true),
    }[kind]
    if average == "micro":
        return over.sum() / under.sum()
    with np.errstate(invalid="ignore"):
        each = np.where(under > 0, over / np.maximum(under, 1), zero)
    if average is None:
        return each
    weights = true if average == "weighted" else (chosen + true > 0) * 1.0
    return (each * weights).sum() / weights.sum()


@pytest.mark.parametrize("average", ["macro", "micro", "weighted", None])
@pytest.mark.parametrize("kind", ["precision", "recall", "f1"])
def test_by_class(kind, average):
    output, labels = scores()
    metric = {"precision": train.Precision, "recall": train.Recall, "f1": train.F1}[
        kind
    ]
    expected = by_hand(kind, counts(output, labels), average)
    np.testing.assert_allclose(streamed(metric(average), output, labels), expected)


@pytest.mark.parametrize("average", ["macro", "micro", "weighted", None])
@pytest.mark.parametrize("zero", [0.0, 1.0, math.nan])
def test_by_class_as_scikit_learn(average, zero):
    sklearn = pytest.importorskip("sklearn.metrics")
    for seed, n in ((0, N), (1, 7), (2, 3)):  # the small ones miss classes
        output, labels = scores(seed, n)
        chosen = output.argmax(1)
        options = {"average": average, "zero_division": zero}
        if average is None:
            options["labels"] = range(C)
        for metric, reference in (
            (train.Precision, sklearn.precision_score),
            (train.Recall, sklearn.recall_score),
            (train.F1, sklearn.f1_score),
        ):
            np.testing.assert_allclose(
                streamed(metric(average, zero_division=zero), output, labels),
                reference(labels, chosen, **options),
                err_msg=f"{metric.__name__} {seed}",
            )
        np.testing.assert_array_equal(
            streamed(train.ConfusionMatrix(), output, labels),
            sklearn.confusion_matrix(labels, chosen, labels=range(C)),
        )


def test_accuracy_and_top_k():
    output, labels = scores()
    order = np.argsort(-output, axis=1, kind="stable")
    assert streamed(train.Accuracy(), output, labels) == (order[:, 0] == labels).mean()
    for k in (1, 2, 3, C):
        expected = (order[:, :k] == labels[:, None]).any(1).mean()
        assert streamed(train.TopK(k), output, labels) == expected
    assert streamed(train.TopK(1), output, labels) == streamed(
        train.Accuracy(), output, labels
    )


def test_top_k_of_equal_scores_and_nan():
    """A network that has learnt nothing does not have every class on top."""
    labels = np.arange(10)
    flat = np.zeros((10, 10), np.float32)
    assert streamed(train.TopK(5), flat, labels) == 0.5
    assert streamed(train.TopK(1), flat, labels) == 0.1
    assert streamed(train.TopK(5), np.full_like(flat, np.nan), labels) == 0
    nowhere = np.where(labels == 3, -1, 10)  # no class: never right
    assert streamed(train.TopK(5), flat - 1, nowhere) == 0
    endless = np.full_like(flat, -np.inf)
    endless[:, 3] = np.inf
    assert streamed(train.TopK(1), endless, labels) == 0.1


def test_top_k_as_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    output, labels = scores()
    for k in (2, 3):
        expected = sklearn.top_k_accuracy_score(labels, output, k=k, labels=range(C))
        assert streamed(train.TopK(k), output, labels) == expected


def test_confusion_matrix():
    output, labels = scores()
    metric = train.ConfusionMatrix()
    np.testing.assert_array_equal(
        streamed(metric, output, labels), counts(output, labels)
    )
    assert metric.compute().dtype is fastnn.int64
    metric.reset()
    assert metric.compute().shape == (0, 0)


def test_ignore_index():
    output, labels = scores()
    rest = labels != 0
    kept = counts(output[rest], labels[rest])
    right = (output.argmax(1) == labels)[rest].mean()
    assert streamed(train.Accuracy(ignore_index=0), output, labels) == right
    assert streamed(train.TopK(1, ignore_index=0), output, labels) == right
    np.testing.assert_array_equal(
        streamed(train.ConfusionMatrix(ignore_index=0), output, labels), kept
    )
    np.testing.assert_allclose(
        streamed(train.F1(ignore_index=0), output, labels), by_hand("f1", kept, "macro")
    )
    marked = np.where(rest, labels, -100)
    assert streamed(train.Accuracy(ignore_index=-100), output, marked) == right
    np.testing.assert_array_equal(
        streamed(train.ConfusionMatrix(ignore_index=-100), output, marked), kept
    )


@pytest.mark.parametrize("shape", [(N,), (N, 1)])
@pytest.mark.parametrize("kind", [np.float32, np.int64, bool])
def test_binary(shape, kind):
    random = np.random.default_rng(0)
    target = random.random(N) < 0.3
    logits = (random.standard_normal(N) + target).astype(np.float32)
    for threshold, output in ((0.0, logits), (0.5, 1 / (1 + np.exp(-logits)))):
        chosen = output > threshold
        args = output.reshape(shape), target.astype(kind)
        options = {"threshold": threshold}
        right = (chosen & target).sum()
        assert streamed(train.Accuracy(**options), *args) == (chosen == target).mean()
        assert (
            streamed(train.Precision("binary", **options), *args)
            == right / chosen.sum()
        )
        assert (
            streamed(train.Recall("binary", **options), *args) == right / target.sum()
        )
        np.testing.assert_allclose(
            streamed(train.F1("binary", **options), *args),
            2 * right / (chosen.sum() + target.sum()),
        )


def test_other_shapes():
    output, labels = scores()
    expected = (output.argmax(1) == labels).mean()
    one_hot = np.eye(C, dtype=np.float32)[labels]
    assert streamed(train.Accuracy(), output, one_hot) == expected
    assert streamed(train.Accuracy(num_classes=C), output.argmax(1), labels) == expected
    # (n, classes, ...) with (n, ...)
    deep = output[:200].reshape(50, 4, C).transpose(0, 2, 1)
    assert (
        streamed(train.Accuracy(), deep, labels[:200].reshape(50, 4))
        == (output[:200].argmax(1) == labels[:200]).mean()
    )
    # several binary outputs
    many = train.Accuracy(threshold=0.0)
    assert streamed(many, output, one_hot) == ((output > 0) == (one_hot > 0)).mean()


@pytest.mark.parametrize("shape", [(N,), (N, 1), (N, 3)])
def test_numbers(shape):
    random = np.random.default_rng(0)
    target = random.standard_normal(shape) * 3 + 1e4  # the spread is far from 0
    output = target + random.standard_normal(shape)
    apart = output - target
    expected = {
        train.MSE: (apart**2).mean(),
        train.MAE: abs(apart).mean(),
        train.R2: np.mean(
            1 - (apart**2).sum(0) / ((target - target.mean(0)) ** 2).sum(0)
        ),
    }
    for metric, number in expected.items():
        np.testing.assert_allclose(
            streamed(metric(), output, target), number, rtol=1e-12
        )


def test_numbers_as_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(1)
    for columns in (1, 4):
        target = random.standard_normal((50, columns))
        output = target + random.standard_normal((50, columns))
        if columns > 1:
            target[:, 1] = 2.5  # constant, and missed
            target[:, 2] = output[:, 2] = 1.5  # constant, and met
        for metric, reference in (
            (train.R2, sklearn.r2_score),
            (train.MSE, sklearn.mean_squared_error),
            (train.MAE, sklearn.mean_absolute_error),
        ):
            np.testing.assert_allclose(
                streamed(metric(), output, target, (3, 1, 20)),
                reference(target, output),
            )


def test_nothing_gives_nan():
    for metric in (
        train.Accuracy(),
        train.F1(),
        train.MSE(),
        train.R2(),
        train.TopK(2),
    ):
        assert math.isnan(metric.compute())
    one = train.R2()
    one.update(fastnn.ones(1), fastnn.ones(1))
    assert math.isnan(one.compute())


@pytest.mark.parametrize("value", [0.1, 1e6 + 0.1, -0.7, 0.0])
def test_r2_of_equal_targets(value):
    """Their mean is rounded, and is no spread: 1 where all are met, else 0."""
    for miss, expected in ((0.0, 1.0), (0.25, 0.0)):
        metric = train.R2()
        for n in (3, 7, 1):
            target = np.full((n, 1), value)
            metric.update(tensor(target + miss), tensor(target))
        assert metric.compute() == expected


def test_update_leaves_the_sums_as_tensors():
    """To watch must not make the training loop wait for numbers."""
    output, labels = (tensor(a) for a in scores())
    metrics = [train.Accuracy(), train.TopK(2), train.F1(), train.ConfusionMatrix()]
    pairs = [(m, output, labels) for m in metrics]
    pairs += [(m, output, output) for m in (train.MSE(), train.MAE(), train.R2())]
    for metric, *args in pairs:
        metric.update(*args)
        metric.update(*args)
        read = [v for v in metric.sums.values() if isinstance(v, fastnn.Tensor)]
        assert read, metric


def test_state():
    output, labels = scores()
    for make in (
        train.Accuracy,
        train.F1,
        train.ConfusionMatrix,
        lambda: train.TopK(2),
    ):
        whole, first, second = make(), make(), make()
        first.update(tensor(output[:50]), tensor(labels[:50]))
        second.load_state_dict(first.state_dict())
        first.reset()
        second.update(tensor(output[50:]), tensor(labels[50:]))
        np.testing.assert_array_equal(
            value(second), streamed(whole, output, labels, (50,))
        )


def test_by_name():
    found = named(["accuracy", "top5", "r2", train.F1("micro")])
    assert list(found) == ["accuracy", "top5", "r2", "f1"]
    assert found["top5"].k == 5
    found = named({"best": "top2", "error": train.MSE()})
    assert found["best"].k == 2 and found["error"].name == "mse"
    assert list(named("accuracy")) == ["accuracy"]


class BCELoss:
    pass


def test_a_binary_loss_says_what_outputs_are():
    found = named(["accuracy", "precision", "mse"], BCELoss())
    assert found["accuracy"].threshold == found["precision"].threshold == 0.5
    assert found["precision"].average == "binary"

    def binary_cross_entropy_with_logits():
        pass

    assert named(["f1"], binary_cross_entropy_with_logits)["f1"].threshold == 0


ROW = fastnn.zeros(3, 4)
HOSTILE = [
    (
        lambda: named(["acuracy"]),
        ValueError,
        "one of accuracy, confusion_matrix.*acuracy",
    ),
    (lambda: named(["top0"]), ValueError, "top1, top2"),
    (lambda: named([3]), TypeError, "int"),
    (lambda: named(["mse", "mse"]), ValueError, "'mse' is taken"),
    (lambda: named({"loss": "mse"}), ValueError, "'loss' is taken"),
    (lambda: train.F1("mean"), ValueError, "'macro'.*'mean'"),
    (lambda: train.TopK(0), ValueError, "k of at least 1"),
    (
        lambda: train.TopK(5).update(ROW, fastnn.zeros(3).long()),
        ValueError,
        "5 classes.*4",
    ),
    (lambda: train.TopK(2).update(ROW, fastnn.zeros(4).long()), ValueError, r"\(4,\)"),
    (
        lambda: train.Accuracy().update(ROW, fastnn.zeros(4).long()),
        ValueError,
        r"\(4,\)",
    ),
    (lambda: train.Accuracy().update(ROW, fastnn.zeros(3, 5)), ValueError, r"\(3, 5\)"),
    (
        lambda: train.Accuracy().update(fastnn.zeros(3), fastnn.zeros(3)),
        ValueError,
        "threshold=0.0",
    ),
    (
        lambda: train.F1().update(fastnn.zeros(3).long(), fastnn.zeros(3).long()),
        ValueError,
        "num_classes",
    ),
    (
        lambda: train.MSE().update(fastnn.zeros(3, 1), fastnn.zeros(3)),
        ValueError,
        "mse.*one",
    ),
    (
        lambda: train.R2().update(fastnn.zeros(2), fastnn.zeros(3)),
        ValueError,
        "r2.*one",
    ),
]


@pytest.mark.parametrize(("call", "error", "words"), HOSTILE)
def test_refusals(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("label", [-1, 4])
def test_labels_out_of_range_are_not_passed_over(label):
    for metric in (train.ConfusionMatrix(), train.Recall(), train.Precision("micro")):
        metric.update(ROW, fastnn.tensor([0, 1, label]))
        with pytest.raises(ValueError, match="from 0 to 3, got 1 outside"):
            metric.compute()


def test_binary_average_of_many_classes():
    metric = train.F1("binary")
    metric.update(ROW, fastnn.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match="2 classes, got 4"):
        metric.compute()
