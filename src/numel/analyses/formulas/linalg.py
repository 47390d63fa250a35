"""Solves and factorisations of matrices: products of shrinking sizes, counted as the textbook algorithms run them.

A dot product of k and an update of k elements (y -= a · x) are k multiply-accumulates each, as in a matrix product.
Divisions, roots, scalings and the search of a pivot are elementwise; what a reflector takes besides, a fixed number per
column, is left out. So these are the additions of LAPACK Working Note 41, appendix C: those of the unblocked
algorithms, for a matrix without zeros to skip (Golub and Van Loan, Matrix Computations, chapters 3 to 5 and 8).

Eigenvalues and singular values are iterated for until they converge. Before that, LAPACK's drivers reduce the matrix to
a narrow one, and this reduction alone is counted: a lower bound, and said so.
"""

from __future__ import annotations

from math import prod
from typing import Any

from numel.analyses.formulas.arguments import first
from numel.analyses.formulas.registry import Cost, formula
from numel.facts.trace import TensorSpec

# --- sums over the steps of an algorithm -----------------------------------------------------------------------------


def _areas(m: int, n: int, steps: int) -> int:
    """Σ (m - i)(n - i) for i = 1 ... steps: what is left of a matrix that loses a row and a column in each step."""
    once, squares = steps * (steps + 1) // 2, steps * (steps + 1) * (2 * steps + 1) // 6
    return steps * m * n - (m + n) * once + squares


def _sides(m: int, steps: int) -> int:
    """Σ (m - i) for i = 1 ... steps: what is left of a column below the diagonal."""
    return steps * m - steps * (steps + 1) // 2


def _for_each(matrices: TensorSpec, one: Cost) -> Cost:
    """The cost of `one` for each matrix of a batch."""
    count = prod(matrices.shape[:-2])
    return Cost(count * one.macs, count * one.elementwise, at_least=one.at_least)


# --- triangular systems, Cholesky ------------------------------------------------------------------------------------


def _substitution(solution: TensorSpec, n: int, divided: bool = True) -> Cost:
    """Σ (i - 1) over the n unknowns of each right-hand side, and a division by the diagonal unless that is all ones."""
    return Cost(macs=solution.numel * (n - 1) // 2, elementwise=solution.numel * divided)


@formula("aten.linalg_solve_triangular")
def solve_triangular(A: TensorSpec, *_: Any, outputs: Any, unitriangular: bool = False, **named: Any) -> Cost:
    """Unknown i takes a dot product with the i - 1 known ones: n (n - 1) / 2 per right-hand side, and n divisions."""
    return _substitution(first(outputs), A.shape[-1], not unitriangular)


@formula("aten.triangular_solve")
def triangular_solve(
    self: TensorSpec, A: TensorSpec, upper: bool = True, transpose: bool = False, unitriangular: bool = False, *_: Any,
    outputs: Any, **named: Any,
) -> Cost:  # fmt: skip
    """`linalg_solve_triangular`, with the right-hand sides first: n (n - 1) / 2 for each of them, and n divisions."""
    return _substitution(first(outputs), A.shape[-1], not unitriangular)


@formula("aten.linalg_cholesky_ex", "aten.cholesky")
def cholesky(self: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """Element (i, j) of the lower half takes a dot product of j - 1: (n³ - n) / 6; a root or a division each."""
    n = self.shape[-1]
    return _for_each(self, Cost(macs=(n**3 - n) // 6, elementwise=n * (n + 1) // 2))


@formula("aten.cholesky_solve", "aten._cholesky_solve_helper")
def cholesky_solve(self: TensorSpec, input2: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """Two triangular solves: n (n - 1) per right-hand side."""
    once = _substitution(first(outputs), input2.shape[-1])
    return once + once


@formula("aten.cholesky_inverse")
def cholesky_inverse(self: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """L⁻¹ by substitution, (n³ - n) / 6, and half of the product with its transpose, n (n + 1) (n + 2) / 6."""
    n = self.shape[-1]
    return _for_each(self, Cost(macs=n * (n + 1) * (2 * n + 1) // 6, elementwise=n * (n + 1) // 2))


@formula("aten.linalg_ldl_factor_ex", "aten.linalg_ldl_factor")
def ldl(self: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """At least (n³ - n) / 6 - 1: step i updates the lower half behind it, Σ (n - i)(n - i + 1) / 2.

    Values choose pivots of one row or of two. One of two rows with k behind it takes k (k + 1) for the update and 2k
    for the two columns, where two of one row take (k + 1)²: more, or, at the very end (k = 0), one less.
    """
    n = self.shape[-1]
    return _for_each(self, Cost(macs=max(0, (n**3 - n) // 6 - 1), at_least=True))


@formula("aten.linalg_ldl_solve")
def ldl_solve(LD: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """At least two triangular solves, n (n - 1) per right-hand side: a pivot of two rows saves one product in each of
    them, and takes two to solve for itself."""
    solution, n = first(outputs), LD.shape[-1]
    once = _substitution(solution, n, False)
    return Cost(macs=2 * once.macs, at_least=True)


# --- LU --------------------------------------------------------------------------------------------------------------


def _lu(m: int, n: int, pivot: bool = True) -> Cost:
    """Step i subtracts a multiple of one row from the m - i below; a comparison each finds the row, if it is sought."""
    steps = min(m, n)
    return Cost(macs=_areas(m, n, steps), elementwise=_sides(m, steps) * (1 + pivot))


def _lu_solve(solution: TensorSpec, n: int) -> Cost:
    return _substitution(solution, n, divided=False) + _substitution(solution, n)


@formula("aten.linalg_lu_factor_ex", "aten.linalg_lu")
def lu_factor(A: TensorSpec, *_: Any, outputs: Any, pivot: bool = True, **named: Any) -> Cost:
    """Step i updates what is left of the matrix, Σ (m - i)(n - i): n (n - 1) (2n - 1) / 6, so n³ / 3, for a square."""
    m, n = A.shape[-2:]
    return _for_each(A, _lu(m, n, pivot))


@formula("aten.lu_unpack")
def lu_unpack(*_: Any, outputs: Any, **named: Any) -> Cost:
    """The two triangles and the order of the rows are written out: nothing is computed."""
    return Cost()


@formula("aten.linalg_lu_solve")
def lu_solve(LU: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """Two triangular solves, one of them by a diagonal of ones: n (n - 1) per right-hand side."""
    return _lu_solve(first(outputs), LU.shape[-1])


@formula("aten._linalg_solve_ex")
def solve(A: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """An LU factorisation of each matrix, n (n - 1) (2n - 1) / 6, and n (n - 1) for each right-hand side."""
    n = A.shape[-1]
    return _for_each(A, _lu(n, n)) + _lu_solve(first(outputs), n)


@formula("aten.linalg_inv_ex")
def inverse(A: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """`solve` with the n columns of the identity, which is how torch inverts: 4n³ / 3 to leading order."""
    return solve(A, outputs=outputs)


@formula("aten._linalg_det")
def determinant(A: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """An LU factorisation, n (n - 1) (2n - 1) / 6, and a multiplication per pivot."""
    n = A.shape[-1]
    return _for_each(A, _lu(n, n) + Cost(elementwise=n))


@formula("aten._linalg_slogdet")
def log_determinant(A: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """An LU factorisation, n (n - 1) (2n - 1) / 6; five per pivot: sign, its product, magnitude, logarithm, sum."""
    n = A.shape[-1]
    return _for_each(A, _lu(n, n) + Cost(elementwise=5 * n))


# --- QR --------------------------------------------------------------------------------------------------------------


def _qr(m: int, n: int) -> Cost:
    """Reflector i of length l = m - i + 1 has a norm of l - 1 and meets the n - i columns to its right: a dot product
    and an update of l each. Elementwise its scaling and that of the dot products; one of length 1 reflects nothing."""
    steps = max(0, min(m - 1, n))
    below, right = _sides(m, steps), _sides(n, steps)
    return Cost(macs=2 * _areas(m + 1, n, steps) + below, elementwise=below + right)


def _q(m: int, n: int, reflectors: int) -> Cost:
    """The first n columns of the product of reflectors, from the last to the first, so that each meets those after it:
    a dot product and an update. Elementwise the scaling of the dot products, and that of its own column."""
    macs = 2 * _areas(m + 1, n, reflectors)
    return Cost(macs=macs, elementwise=_sides(n, reflectors) + _sides(m, reflectors))


def _reflected(m: int, reflectors: int, vectors: int) -> Cost:
    """Reflectors of lengths m, m - 1, ... each meet every vector: a dot product and an update, and a scaling."""
    return Cost(macs=vectors * reflectors * (2 * m - reflectors + 1), elementwise=vectors * reflectors)


@formula("aten.geqrf")
def geqrf(self: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """Householder reflectors, 2 Σ (m - i + 1)(n - i) + Σ (m - i): n² (m - n / 3) to leading order."""
    m, n = self.shape[-2:]
    return _for_each(self, _qr(m, n))


@formula("aten.linalg_qr")
def qr(A: TensorSpec, mode: str = "reduced", *_: Any, outputs: Any, **named: Any) -> Cost:
    """`geqrf`, and as much again for a reduced Q; a complete one has m columns, and mode "r" none."""
    m, n = A.shape[-2:]
    steps = min(m, n)
    columns = {"r": 0, "reduced": steps, "complete": m}[mode]
    return _for_each(A, _qr(m, n) + (_q(m, columns, steps) if columns else Cost()))


@formula("aten.linalg_householder_product")
def householder_product(input: TensorSpec, tau: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """Reflector i of k meets the n - i columns after it, a dot product and an update: 2 Σ (m - i + 1)(n - i)."""
    m, n = input.shape[-2:]
    return _for_each(input, _q(m, n, tau.shape[-1]))


@formula("aten.ormqr")
def ormqr(
    self: TensorSpec, input2: TensorSpec, input3: TensorSpec, left: bool = True, *_: Any, outputs: Any, **named: Any
) -> Cost:
    """k reflectors of lengths m, m - 1, ... meet every vector of m, a dot product and an update: k (2m - k + 1)."""
    rows, columns = input3.shape[-2:]
    m, vectors = (rows, columns) if left else (columns, rows)
    return _for_each(input3, _reflected(m, input2.shape[-1], vectors))


@formula("aten.linalg_lstsq")
def lstsq(self: TensorSpec, b: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """At least a QR, of the transpose where that is the tall one, and its reflectors on each right-hand side.

    What is solved then depends on the rank that is found.
    """
    m, n = self.shape[-2:]
    factored = _for_each(self, _qr(max(m, n), min(m, n)))
    vectors = first(outputs).numel // max(1, n)
    return factored + _reflected(m, max(0, min(m - 1, n)), vectors) + Cost(at_least=True)


# --- eigenvalues and singular values: the reduction that comes first -------------------------------------------------


def _tridiagonal(n: int) -> int:
    """For each l = n - 1 ... 2: a norm of l - 1, a symmetric product of l², a dot product and an update of l, and an
    update of half a matrix by two outer products, l (l + 1). Σ is (n² - 4)(2n + 3) / 3."""
    return max(0, (n * n - 4) * (2 * n + 3) // 3)


def _hessenberg(n: int) -> int:
    """For each l = n - 1 ... 2: a norm of l - 1, and a reflector of l on n rows and on l columns, 2nl + 2l²."""
    return max(0, (10 * n**3 - 9 * n**2 - 19 * n - 6) // 6)


def _bidiagonal(m: int, n: int) -> int:
    """For m ≥ n. Column i: a norm of m - i, a reflector of m - i + 1 on n - i columns. Row i, unless a single element
    is left of it: a norm of n - i - 1, a reflector of n - i on m - i rows."""
    rows = max(0, n - 2)
    return 2 * (_areas(m + 1, n, n) + _areas(m, n, rows)) + _sides(m, n) + _sides(n - 1, rows)


def _singular_values(m: int, n: int) -> int:
    """Of the matrix itself, or of the R of its QR where it is tall enough for that to be less."""
    tall, wide = max(m, n), min(m, n)
    return min(_bidiagonal(tall, wide), _qr(tall, wide).macs + _bidiagonal(wide, wide))


@formula("aten._linalg_eigh")
def eigh(A: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """At least the reduction to tridiagonal form: (n² - 4)(2n + 3) / 3, so 2n³ / 3 to leading order."""
    return _for_each(A, Cost(macs=_tridiagonal(A.shape[-1]), at_least=True))


@formula("aten.linalg_eig", "aten._linalg_eigvals", "aten.linalg_eigvals")
def eig(self: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """At least the reduction to Hessenberg form: 5n³ / 3 to leading order."""
    return _for_each(self, Cost(macs=_hessenberg(self.shape[-1]), at_least=True))


@formula("aten._linalg_svd")
def svd(A: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """At least the reduction to bidiagonal form: 2n² (m - n / 3), or n² (m + n) by a QR first, whichever is less."""
    return _for_each(A, Cost(macs=_singular_values(*A.shape[-2:]), at_least=True))


@formula("aten.linalg_pinv.atol_rtol_tensor")
def pseudoinverse(self: TensorSpec, *_: Any, outputs: Any, hermitian: bool = False, **named: Any) -> Cost:
    """At least the reduction of the SVD (of the eigenvalues, for a Hermitian matrix), and one product of the parts."""
    m, n = self.shape[-2:]
    reduced = _tridiagonal(n) if hermitian else _singular_values(m, n)
    return _for_each(self, Cost(macs=reduced + m * n * min(m, n), at_least=True))
