"""Solves and factorisations against the textbook algorithms in plain loops, over numbers that count what is done to
them. That a loop is the algorithm it is named for is seen from what it returns: it is compared with torch's result.

In these algorithms every addition adds a product to what is there, so the additions are the multiply-accumulates, and
the multiplications beyond those are scalings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import copysign, hypot, prod, sqrt
from typing import Any

import pytest
import torch

import numel
from formulas.counting import Call, f32, lowered, price, total, whole
from numel.analyses.formulas import Cost, cost

_DONE: Counter[str] = Counter()


class Number:
    """A number that counts the operations it takes part in."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __add__(self, other: Number) -> Number:
        _DONE["add"] += 1
        return Number(self.value + other.value)

    def __sub__(self, other: Number) -> Number:
        _DONE["add"] += 1
        return Number(self.value - other.value)

    def __mul__(self, other: Number) -> Number:
        _DONE["multiply"] += 1
        return Number(self.value * other.value)

    def __truediv__(self, other: Number) -> Number:
        _DONE["other"] += 1
        return Number(self.value / other.value)

    def root(self) -> Number:
        _DONE["other"] += 1
        return Number(sqrt(self.value))

    def larger(self, other: Number) -> bool:
        _DONE["other"] += 1
        return abs(self.value) > abs(other.value)


Matrix = list[list[Number]]
Column = list[Number]


def counted(values: torch.Tensor) -> Matrix:
    return [[Number(each) for each in row] for row in values.tolist()]


def plain(matrix: Matrix) -> torch.Tensor:
    return torch.tensor([[each.value for each in row] for row in matrix], dtype=torch.float64)


def zeros(m: int, n: int) -> Matrix:
    return counted(torch.zeros(m, n))


def transposed(matrix: Matrix) -> Matrix:
    return [list(column) for column in zip(*matrix, strict=True)]


def dot(a: Column, b: Column) -> Number:
    return sum((x * y for x, y in zip(a, b, strict=True)), Number(0.0))


# --- the algorithms --------------------------------------------------------------------------------------------------


def forward_substitution(lower: Matrix, b: Matrix, ones: bool = False) -> Matrix:
    """L x = b for each column of b; `ones` says that the diagonal of L is."""
    solved = []
    for column in transposed(b):
        x: Column = []
        for i, row in enumerate(lower):
            rest = column[i]
            for j in range(i):
                rest = rest - row[j] * x[j]
            x.append(rest if ones else rest / row[i])
        solved.append(x)
    return transposed(solved)


def back_substitution(upper: Matrix, b: Matrix) -> Matrix:
    """U x = b: forwards, with rows and columns in the opposite order."""
    return forward_substitution([row[::-1] for row in upper[::-1]], b[::-1])[::-1]


def cholesky(a: Matrix) -> Matrix:
    n = len(a)
    factor = zeros(n, n)
    for j in range(n):
        for i in range(j, n):
            rest = a[i][j]
            for k in range(j):
                rest = rest - factor[i][k] * factor[j][k]
            factor[i][j] = rest.root() if i == j else rest / factor[j][j]
    return factor


def inverse_of_cholesky(factor: Matrix) -> Matrix:
    """(L Lᵀ)⁻¹ = L⁻ᵀ L⁻¹: columns of L⁻¹ by substitution from the diagonal down, then the lower half of the product."""
    n = len(factor)
    inverted, result = zeros(n, n), zeros(n, n)
    for j in range(n):
        inverted[j][j] = Number(1.0) / factor[j][j]
        for i in range(j + 1, n):
            known = dot(factor[i][j:i], [inverted[k][j] for k in range(j, i)])
            inverted[i][j] = Number(-known.value) / factor[i][i]
    for i in range(n):
        for j in range(i + 1):
            result[i][j] = dot([inverted[k][i] for k in range(i, n)], [inverted[k][j] for k in range(i, n)])
            result[j][i] = result[i][j]
    return result


def lu(a: Matrix, pivot: bool = True) -> tuple[Matrix, list[int]]:
    """L below the diagonal and U above it, and which row of `a` each row is."""
    m, n = len(a), len(a[0])
    a, order = [list(row) for row in a], list(range(m))
    for k in range(min(m, n)):
        best = k
        for i in range(k + 1, m):
            if pivot and a[i][k].larger(a[best][k]):
                best = i
        a[k], a[best], order[k], order[best] = a[best], a[k], order[best], order[k]
        for i in range(k + 1, m):
            a[i][k] = a[i][k] / a[k][k]
            for j in range(k + 1, n):
                a[i][j] = a[i][j] - a[i][k] * a[k][j]
    return a, order


def solve(a: Matrix, b: Matrix) -> Matrix:
    factored, order = lu(a)
    return back_substitution(factored, forward_substitution(factored, [b[i] for i in order], ones=True))


def determinant(a: Matrix) -> Number:
    factored, order = lu(a)
    swaps = sum(order[i] > order[j] for j in range(len(order)) for i in range(j))
    found = Number((-1.0) ** swaps)
    for i, row in enumerate(factored):
        found = found * row[i]
    return found


Reflector = tuple[Column, Number]  # v and tau: H = I - tau v vᵀ


def reflector(x: Column) -> tuple[Reflector, float]:
    """The H that maps x to a multiple of the first unit vector, and that multiple."""
    alpha, norm = x[0].value, sqrt(dot(x[1:], x[1:]).value)
    beta = -copysign(hypot(alpha, norm), alpha)
    scale = Number(1.0 / (alpha - beta))
    return ([Number(1.0), *(each * scale for each in x[1:])], Number((beta - alpha) / beta)), beta


def reflect(h: Reflector, matrix: Matrix, top: int, columns: range) -> None:
    """H times the rows from `top` down, in these columns."""
    v, tau = h
    for j in columns:
        share = tau * dot(v, [row[j] for row in matrix[top:]])
        for i, each in enumerate(v):
            matrix[top + i][j] = matrix[top + i][j] - each * share


def reflect_rows(h: Reflector, matrix: Matrix, left: int, rows: range) -> None:
    """These rows times H, in the columns from `left` on."""
    turned = transposed(matrix)
    reflect(h, turned, left, rows)
    matrix[:] = transposed(turned)


def zeroed(matrix: Matrix, column: int, top: int) -> Reflector:
    """The reflector that leaves one element of a column from `top` down; it is put there."""
    h, beta = reflector([row[column] for row in matrix[top:]])
    for i in range(top, len(matrix)):
        matrix[i][column] = Number(beta if i == top else 0.0)
    return h


def householder(a: Matrix) -> tuple[Matrix, list[Reflector]]:
    """R, and the reflectors; one of length 1 would reflect nothing, and is not made."""
    r, made = [list(row) for row in a], []
    for i in range(min(len(a) - 1, len(a[0]))):
        made.append(zeroed(r, i, i))
        reflect(made[-1], r, i, range(i + 1, len(a[0])))
    return r, made


def unreflected(m: int, columns: int, made: list[Reflector]) -> Matrix:
    """The first columns of H1 H2 ..., last first. What a reflector makes of its own unit vector is e - tau v."""
    q = counted(torch.eye(m, columns))
    for i, (v, tau) in reversed(list(enumerate(made))):
        reflect((v, tau), q, i, range(i + 1, columns))
        q[i][i] = Number(1.0 - tau.value)
        for k, each in enumerate(v[1:], i + 1):
            q[k][i] = Number(-tau.value) * each
    return q


def qr(a: Matrix, columns: int) -> tuple[Matrix, Matrix]:
    r, made = householder(a)
    return unreflected(len(a), columns, made) if columns else [], r


def tridiagonal(a: Matrix) -> Matrix:
    """H a H for each column in turn, on the lower half alone, since what is symmetric stays so."""
    n = len(a)
    a = [list(row) for row in a]
    for k in range(n - 2):
        v, tau = zeroed(a, k, k + 1)
        rest = range(k + 1, n)
        p = [tau * dot([a[max(i, j)][min(i, j)] for j in rest], v) for i in rest]
        half = Number(0.5 * tau.value * dot(p, v).value)
        w = [x - half * y for x, y in zip(p, v, strict=True)]
        for i in range(len(v)):
            for j in range(i + 1):
                row, column = k + 1 + i, k + 1 + j
                a[row][column] = a[row][column] - v[i] * w[j] - w[i] * v[j]
    return [[a[max(i, j)][min(i, j)] if abs(i - j) < 2 else Number(0.0) for j in range(n)] for i in range(n)]


def hessenberg(a: Matrix) -> Matrix:
    n = len(a)
    a = [list(row) for row in a]
    for k in range(n - 2):
        h = zeroed(a, k, k + 1)
        reflect_rows(h, a, k + 1, range(n))
        reflect(h, a, k + 1, range(k + 1, n))
    return a


def bidiagonal(a: Matrix) -> Matrix:
    """Columns from the left and rows from the right in turn, for at least as many rows as columns."""
    m, n = len(a), len(a[0])
    a = [list(row) for row in a]
    for k in range(min(m - 1, n)):
        reflect(zeroed(a, k, k), a, k, range(k + 1, n))
        if k < n - 2:
            turned = transposed(a)
            h = zeroed(turned, k, k + 1)
            a = transposed(turned)
            reflect_rows(h, a, k + 1, range(k + 1, m))
    return a


def bidiagonal_by_qr(a: Matrix) -> Matrix:
    return bidiagonal(householder(a)[0][: len(a[0])])


# --- counting them ---------------------------------------------------------------------------------------------------


def done() -> Cost:
    """What was done since `_DONE` was cleared."""
    return Cost(macs=_DONE["add"], elementwise=_DONE["multiply"] - _DONE["add"] + _DONE["other"])


def run(algorithm: Callable[..., Any], *matrices: torch.Tensor, **options: Any) -> tuple[Any, Cost]:
    """What the algorithm returns for counted copies, and what it did."""
    given = [counted(each) for each in matrices]
    _DONE.clear()
    return algorithm(*given, **options), done()


def each_of(algorithm: Callable[..., Any], *batches: torch.Tensor, **options: Any) -> Cost:
    """The work of the algorithm on every matrix of a batch in turn."""
    flat = [each.reshape(-1, *each.shape[-2:]) for each in batches]
    return sum((run(algorithm, *matrices, **options)[1] for matrices in zip(*flat, strict=True)), Cost())


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(prod(shape)))


def definite(*shape: int) -> torch.Tensor:
    a = draw(*shape, shape[-1])
    return a @ a.mT + torch.eye(shape[-1], dtype=torch.float64)


BATCHES = [(), (3,), (2, 2)]
SIZES = [1, 2, 3, 6]
SHAPES = [(1, 1), (4, 1), (1, 4), (4, 4), (7, 3), (3, 7), (6, 5), (5, 6)]

batches = pytest.mark.parametrize("batch", BATCHES, ids=str)
sizes = pytest.mark.parametrize("n", SIZES)
shapes = pytest.mark.parametrize(("m", "n"), SHAPES)


# --- triangular systems, Cholesky ------------------------------------------------------------------------------------


@batches
@sizes
@pytest.mark.parametrize("columns", [1, 4])
@pytest.mark.parametrize("ones", [False, True])
def test_a_triangular_solve_costs_what_substitution_does(batch, n, columns, ones):
    a, b = definite(*batch, n).tril(), draw(*batch, n, columns)
    a = a - a.diagonal(dim1=-2, dim2=-1).diag_embed() + torch.eye(n) if ones else a
    x, y = f32(*batch, n, columns), f32(*batch, n, n)
    work = each_of(forward_substitution, a, b, ones=ones)
    assert price("aten.linalg_solve_triangular", y, x, outputs=x, upper=False, unitriangular=ones) == work
    assert price("aten.triangular_solve", x, y, False, False, ones, outputs=(x, y)) == work
    first = run(forward_substitution, a.reshape(-1, n, n)[0], b.reshape(-1, n, columns)[0], ones=ones)[0]
    torch.testing.assert_close(a.reshape(-1, n, n)[0] @ plain(first), b.reshape(-1, n, columns)[0])


def test_a_triangular_solve_from_the_right_counts_its_rows():
    """X A = B with B of (5, 3) has five right-hand sides of three unknowns: 5 · 3 MACs."""
    found = price("aten.linalg_solve_triangular", f32(3, 3), f32(5, 3), outputs=f32(5, 3), upper=True, left=False)
    assert found == Cost(macs=15, elementwise=15)


@batches
@sizes
def test_cholesky_costs_a_dot_product_for_each_element_of_its_factor(batch, n):
    a, spec = definite(*batch, n), f32(*batch, n, n)
    factor, _ = run(cholesky, a.reshape(-1, n, n)[0])
    torch.testing.assert_close(plain(factor), torch.linalg.cholesky(a.reshape(-1, n, n)[0]))
    for name in ("aten.linalg_cholesky_ex", "aten.cholesky"):
        assert price(name, spec, outputs=spec) == each_of(cholesky, a)


@batches
@sizes
def test_solving_by_a_cholesky_factor_is_two_substitutions(batch, n):
    factor, b = definite(*batch, n).tril(), draw(*batch, n, 2)

    def both(lower: Matrix, b: Matrix) -> Matrix:
        return back_substitution(transposed(lower), forward_substitution(lower, b))

    found = price("aten.cholesky_solve", f32(*b.shape), f32(*factor.shape), outputs=f32(*b.shape))
    assert found == each_of(both, factor, b)
    one = factor.reshape(-1, n, n)[0], b.reshape(-1, n, 2)[0]
    torch.testing.assert_close(plain(run(both, *one)[0]), torch.cholesky_solve(one[1], one[0]))


@batches
@sizes
def test_inverting_by_a_cholesky_factor_is_an_inverse_and_half_a_product(batch, n):
    factor = definite(*batch, n).tril()
    assert price("aten.cholesky_inverse", f32(*batch, n, n)) == each_of(inverse_of_cholesky, factor)
    one = factor.reshape(-1, n, n)[0]
    torch.testing.assert_close(plain(run(inverse_of_cholesky, one)[0]), torch.cholesky_inverse(one))


# --- LU --------------------------------------------------------------------------------------------------------------


@batches
@shapes
@pytest.mark.parametrize("pivot", [True, False])
def test_lu_costs_elimination_of_any_shape(batch, m, n, pivot):
    a, spec = draw(*batch, m, n), f32(*batch, m, n)
    (factored, order), _ = run(lu, a.reshape(-1, m, n)[0], pivot=pivot)
    both, k = plain(factored), min(m, n)
    lower, upper = both.tril(-1)[:, :k] + torch.eye(m, k), both.triu()[:k]
    torch.testing.assert_close(lower @ upper, a.reshape(-1, m, n)[0][order])
    for name in ("aten.linalg_lu_factor_ex", "aten.linalg_lu"):
        assert price(name, spec, outputs=spec, pivot=pivot) == each_of(lu, a, pivot=pivot)


@batches
@sizes
def test_a_solve_is_an_elimination_and_two_substitutions(batch, n):
    a, b = draw(*batch, n, n), draw(*batch, n, 3)
    x, y = f32(*batch, n, n), f32(*batch, n, 3)
    found = price("aten._linalg_solve_ex", x, y, outputs=(y, x))
    assert found == each_of(solve, a, b)
    by_factors = price("aten.linalg_lu_solve", x, f32(*batch, n), y, outputs=y)
    assert by_factors + price("aten.linalg_lu_factor_ex", x, outputs=x) == found
    one = a.reshape(-1, n, n)[0], b.reshape(-1, n, 3)[0]
    torch.testing.assert_close(plain(run(solve, *one)[0]), torch.linalg.solve(*one))


@sizes
def test_a_solve_for_vectors_has_one_right_hand_side_for_each_matrix(n):
    a, b = draw(3, n, n), draw(3, n)
    priced = total(whole(Call(torch.linalg.solve), a.float(), b.float()))
    assert priced == each_of(solve, a, b[..., None])


@batches
@sizes
def test_an_inverse_is_a_solve_for_every_unit_vector(batch, n):
    a = draw(*batch, n, n)
    eye = torch.eye(n).expand(*batch, n, n)
    x = f32(*batch, n, n)
    assert price("aten.linalg_inv_ex", x, outputs=(x, f32(*batch))) == each_of(solve, a, eye)


@batches
@sizes
def test_a_determinant_is_an_elimination_and_a_product_of_pivots(batch, n):
    a, spec = draw(*batch, n, n), f32(*batch, n, n)
    work = each_of(determinant, a)
    assert price("aten._linalg_det", spec, outputs=(f32(*batch), spec)) == work
    # sign, its product, magnitude, logarithm and sum instead of a product
    more = Cost(elementwise=4 * n * prod(batch))
    assert price("aten._linalg_slogdet", spec, outputs=(f32(*batch), f32(*batch), spec)) == work + more
    one = a.reshape(-1, n, n)[0]
    assert run(determinant, one)[0].value == pytest.approx(torch.linalg.det(one).item())


# --- QR --------------------------------------------------------------------------------------------------------------


@batches
@shapes
@pytest.mark.parametrize("mode", ["reduced", "complete", "r"])
def test_qr_costs_its_reflectors_and_their_product(batch, m, n, mode):
    a = draw(*batch, m, n)
    columns = {"reduced": min(m, n), "complete": m, "r": 0}[mode]
    assert price("aten.linalg_qr", f32(*batch, m, n), mode) == each_of(qr, a, columns=columns)
    one = a.reshape(-1, m, n)[0]
    q, r = run(qr, one, columns=columns)[0]
    if columns:
        torch.testing.assert_close(plain(q) @ plain(r)[:columns], one)
    torch.testing.assert_close(plain(r)[: min(m, n)].abs(), torch.linalg.qr(one, mode="r").R.abs())


@batches
@shapes
def test_qr_without_q_costs_its_reflectors(batch, m, n):
    assert price("aten.geqrf", f32(*batch, m, n)) == each_of(householder, draw(*batch, m, n))


@pytest.mark.parametrize(("m", "n", "k"), [(6, 4, 4), (6, 4, 2), (6, 6, 3), (5, 1, 1), (4, 4, 4)])
def test_a_product_of_reflectors_costs_what_each_does_to_those_after_it(m, n, k):
    _, made = householder(counted(draw(m, k)))
    _DONE.clear()
    q, work = plain(unreflected(m, n, made)), done()
    assert price("aten.linalg_householder_product", f32(2, m, n), f32(2, k)) == work + work
    torch.testing.assert_close(q.mT @ q, torch.eye(n, dtype=torch.float64))


@pytest.mark.parametrize(("m", "k"), [(6, 4), (6, 1), (5, 3)])
@pytest.mark.parametrize("vectors", [1, 3])
def test_reflectors_meet_every_vector_that_they_are_applied_to(m, k, vectors):
    _, made = householder(counted(draw(m, k)))
    target = counted(draw(m, vectors))
    _DONE.clear()
    for i, h in enumerate(made):
        reflect(h, target, i, range(vectors))
    assert price("aten.ormqr", f32(m, k), f32(k), f32(m, vectors)) == done()
    assert price("aten.ormqr", f32(m, k), f32(k), f32(vectors, m), False) == done()


@shapes
@pytest.mark.parametrize("columns", [1, 3])
def test_least_squares_are_at_least_a_qr_and_its_reflectors_on_the_right_hand_sides(m, n, columns):
    """The QR of the transpose where that is the tall one, as the least that a driver does; the reflectors of the matrix
    itself meet each right-hand side."""
    _, work = run(householder, draw(max(m, n), min(m, n)))
    _, made = householder(counted(draw(m, n)))
    target = counted(draw(m, columns))
    _DONE.clear()
    for i, h in enumerate(made):
        reflect(h, target, i, range(columns))
    found = price("aten.linalg_lstsq", f32(m, n), f32(m, columns), outputs=f32(n, columns))
    assert found == work + done() + Cost(at_least=True)


# --- what is iterated for --------------------------------------------------------------------------------------------


@sizes
def test_eigenvalues_of_a_symmetric_matrix_are_at_least_its_tridiagonal_form(n):
    a = definite(n)
    form, work = run(tridiagonal, a)
    torch.testing.assert_close(torch.linalg.eigvalsh(plain(form)), torch.linalg.eigvalsh(a))
    assert price("aten._linalg_eigh", f32(5, n, n)) == Cost(macs=5 * work.macs, at_least=True)


@sizes
@pytest.mark.parametrize("name", ["aten.linalg_eig", "aten.linalg_eigvals", "aten._linalg_eigvals"])
def test_eigenvalues_are_at_least_the_hessenberg_form(n, name):
    a = draw(n, n)
    form, work = run(hessenberg, a)
    assert all(each == 0 for each in plain(form).tril(-2).flatten().tolist())
    found, expected = (sorted(torch.linalg.eigvals(each).abs().tolist()) for each in (plain(form), a))
    assert found == pytest.approx(expected)
    assert price(name, f32(5, n, n)) == Cost(macs=5 * work.macs, at_least=True)


@pytest.mark.parametrize(("m", "n"), [*SHAPES, (20, 3), (3, 20)])
def test_singular_values_are_at_least_the_bidiagonal_form_or_that_of_the_r_of_a_tall_matrix(m, n):
    a = draw(max(m, n), min(m, n))
    works = []
    for algorithm in (bidiagonal, bidiagonal_by_qr):
        form, work = run(algorithm, a)
        torch.testing.assert_close(torch.linalg.svdvals(plain(form)), torch.linalg.svdvals(a))
        works.append(work.macs)
    assert price("aten._linalg_svd", f32(5, m, n)) == Cost(macs=5 * min(works), at_least=True)


def test_the_r_of_a_very_tall_matrix_has_less_work_than_the_matrix():
    """2n²(m - n/3) against n²(m + n): the second is less from m = 5n/3 on."""
    work = {m: price("aten._linalg_svd", f32(m, 90)).macs for m in (120, 900)}
    assert work[120] == pytest.approx(2 * 90**2 * (120 - 30), rel=0.02)
    assert work[900] == pytest.approx(90**2 * (900 + 90), rel=0.02)


@pytest.mark.parametrize(("m", "n"), SHAPES)
def test_a_pseudoinverse_is_at_least_an_svd_and_a_product(m, n):
    found = price("aten.linalg_pinv.atol_rtol_tensor", f32(m, n), outputs=f32(n, m))
    assert found == price("aten._linalg_svd", f32(m, n)) + Cost(macs=m * n * min(m, n))


@pytest.mark.parametrize(
    ("name", "leading"),
    [
        ("aten.linalg_cholesky_ex", 1 / 6),
        ("aten.cholesky_inverse", 1 / 3),
        ("aten.linalg_lu_factor_ex", 1 / 3),
        ("aten.linalg_inv_ex", 4 / 3),
        ("aten.geqrf", 2 / 3),
        ("aten.linalg_qr", 4 / 3),
        ("aten._linalg_eigh", 2 / 3),
        ("aten.linalg_eig", 5 / 3),
        ("aten._linalg_svd", 4 / 3),
    ],
)
def test_the_leading_term_is_the_published_one(name, leading):
    """Golub and Van Loan, Matrix Computations, in flops: Cholesky n³/3, LU 2n³/3, QR 4n³/3 and as much again for Q,
    tridiagonal 4n³/3, Hessenberg 10n³/3, bidiagonal 8n³/3. MACs are half of those."""
    n = 10**5
    assert price(name, f32(n, n), outputs=f32(n, n)).macs == pytest.approx(leading * n**3, rel=1e-4)


# --- in a model ------------------------------------------------------------------------------------------------------


class Whitening(torch.nn.Module):
    """Features of a batch made uncorrelated: a layer, its Gram matrix, the Cholesky factor of that, a solve by it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(8, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer(x)
        factor = torch.linalg.cholesky(y.mT @ y + torch.eye(6))
        return torch.linalg.solve_triangular(factor, y.mT, upper=False).mT


def test_a_model_that_factorises_has_an_exact_count():
    """20 rows: 20·8·6 for the layer, 6·20·6 for the Gram matrix, (6³ - 6)/6 for the factor, 20·6·5/2 for the solve."""
    report = numel.summary(Whitening(), "f32[20,8]")
    assert (report.mode, report.exact, report.uncosted) == ("meta", True, {})
    assert report.macs == 960 + 720 + 35 + 300


@pytest.mark.parametrize(
    ("function", "macs"),
    [
        (torch.linalg.inv, 30 + 5 * 20),
        (torch.linalg.det, 30),
        (lambda x: torch.linalg.slogdet(x)[1], 30),
        (lambda x: torch.linalg.qr(x).Q, 80 + 10 + 80),
        (lambda x: torch.linalg.lu(x)[1], 30),
        (lambda x: torch.linalg.solve(x, x[..., :2]), 30 + 2 * 20),
    ],
)
def test_a_factorisation_in_a_model_is_exact(function, macs):
    """5 × 5: LU is 5·4·9/6 = 30, a right-hand side 5·4 = 20. Reflectors of lengths 5, 4, 3, 2 have norms of 4, 3, 2, 1
    and meet 4, 3, 2, 1 columns, 2·(5·4 + 4·3 + 3·2 + 2·1) = 80; Q is those 80 again."""
    report = numel.summary(Call(function), "f32[5,5]")
    assert (report.mode, report.exact, report.uncosted, report.macs) == ("meta", True, {}, macs)


@pytest.mark.parametrize(
    "function",
    [
        torch.linalg.eigvalsh,
        torch.linalg.eigvals,
        torch.linalg.svdvals,
        torch.linalg.pinv,
        lambda x: torch.linalg.lstsq(x, x).solution,
    ],
)
def test_what_is_iterated_for_is_a_lower_bound_in_a_model(function):
    report = numel.summary(Call(function), "f32[5,5]")
    assert not report.exact
    assert report.macs
    assert report.uncosted == {}
    assert sum(report.costs.bounded.values()) == 1


@pytest.mark.parametrize(
    "function",
    [torch.linalg.solve, torch.linalg.cholesky_ex, torch.linalg.qr, torch.linalg.matrix_power],
    ids=lambda each: each.__name__,
)
def test_what_numel_records_costs_what_torch_runs(function):
    a = definite(2, 4).float()
    rest = {torch.linalg.solve: (a,), torch.linalg.matrix_power: (-3,)}.get(function, ())
    assert total(whole(Call(lambda x: function(x, *rest)), a)) == total(lowered(function, a, *rest))


def test_an_exponential_of_a_matrix_stays_unknown():
    """How many products it takes is decided by the norm: none for a small one."""
    (record,) = whole(Call(torch.linalg.matrix_exp), torch.eye(3))
    assert cost(record) is None
