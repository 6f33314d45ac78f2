"""Groups of elementwise calls: what goes into them, and past what."""

from __future__ import annotations

from plan.keeping import only, rand

import fastnn
import fastnn.nn.functional as F


def groups(f, *arguments):
    best = only("group", f, arguments)[1]
    return [[c.op.name for c in best.calls[a:b]] for a, b in best.groups]


def test_groups_of_chains_rows_columns_and_sums():
    x, row, column = rand(5, 4), rand(4), rand(5, 1)

    def f(x, row, column):
        y = ((x * row + column) / 2.0).exp()
        return y, y.sum(0), y.mean(0)

    assert groups(f, x, row, column) == [["mul", "add", "div", "exp", "sum", "mean"]]


def test_groups_take_masks():
    f = lambda x: fastnn.where(x > 0, x * 2, 0.0)  # noqa: E731
    assert groups(f, rand(5, 4)) == [["gt", "mul", "where"]]


def test_groups_move_calls_past_others():
    w = rand(4, 4)

    def f(x):
        a = x.exp()
        b = a @ w
        c = a * 2
        return b, c

    assert groups(f, rand(5, 4)) == [["exp", "mul"]]


def test_groups_stop_at_writes_other_shapes_views_and_draws():
    x = rand(5, 4)

    def written(x):
        a = x.exp()
        x.add_(1)
        return a, x * 2

    def in_place(x):
        return (x * 2).mul_(3)

    def view(x):
        return (x * 2).T.exp()

    def other_shape(x):
        return (x * 2)[1:] * 3

    def integers(x):
        i = fastnn.tensor([1, 2])
        return (i + 1) * 2 + x[0, :2].int()

    def draw(x):
        return F.dropout(x.exp(), 0.5).exp()

    for f in (written, in_place, view, other_shape, integers, draw):
        assert not groups(f, x), f.__name__


def test_groups_leave_the_unrelated_where_it_is():
    w = rand(4, 4)

    def far(x, z):
        a = x.exp()
        return a, z @ w, z.neg()

    def shapes(x, z):
        return x.exp(), z[0].exp()

    def strided(x, z):
        return x.T.exp() * 2

    def past_a_write(x, z):
        a = x.exp()
        z.mul_(2)  # which may be x
        return a, x * 3

    for f in (far, shapes, strided, past_a_write):
        assert not groups(f, rand(5, 4), rand(5, 4)), f.__name__


def test_groups_leave_what_may_raise():
    bce = fastnn._core.op_named("binary_cross_entropy")
    x, t = fastnn.tensor([0.25, 0.5]), fastnn.tensor([0.0, 1.0])
    assert not groups(lambda x, t: bce(x * 1, t), x, t)
    assert not groups(lambda x: (x * 2).int() * 3 // 2, x)
    assert not groups(lambda x: (x * 2).double(), x)


def test_groups_end_in_reductions_of_one_kind():
    def f(x):
        y = x * 2
        return y.sum(0), y.sum(), y.amax(0)

    assert groups(f, rand(5, 4)) == [["mul", "sum", "amax"]]
    assert not groups(lambda x: (x * 2).sum(1), rand(5, 4))
    assert groups(lambda x: ((x - 1) * x).mean(), rand(5, 4)) == [
        ["sub", "mul", "mean"]
    ]


def test_groups_are_not_too_long():
    def f(x):
        for _ in range(40):
            x = x + 1
        return x

    assert [len(g) for g in groups(f, rand(3))] == [16, 16, 8]


def test_a_sum_is_read_after_its_group_alone():
    def f(x):
        y = x.exp()
        return y * y.sum(0) + 1

    assert groups(f, rand(5, 4)) == [["exp", "sum"], ["mul", "add"]]
