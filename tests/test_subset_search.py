"""The search on arrays, against every set looked at."""

from itertools import combinations

import numpy as np
import pytest

from pytorch_feature_analysis.subset_search import (
    Problem,
    best_by_integer_program,
    best_of_all_sets,
    best_set,
    greedy_set,
    upper_bound,
)


def problem_of(seed, n=11, n_categories=1, linear=False):
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(n, n))
    weights += weights.T
    np.fill_diagonal(weights, 0)
    categories = np.sort(np.arange(n) % n_categories)
    counts = tuple(int(rng.integers(1, 4)) for _ in range(n_categories))
    return Problem(weights, rng.normal(size=n) * linear, categories, counts)


def fits(problem, members):
    kinds = np.bincount(problem.categories[members], minlength=len(problem.counts))
    return len(set(members.tolist())) == problem.n_chosen and kinds.tolist() == [*problem.counts]


def best_value(problem):
    values = []
    for chosen in combinations(range(len(problem.weights)), problem.n_chosen):
        members = np.array(chosen)
        if fits(problem, members):
            pairs = sum(problem.weights[i, j] for i, j in combinations(chosen, 2))
            values.append(pairs + sum(problem.linear[i] for i in chosen))
    assert len(values) == problem.n_sets()
    return max(values)


KINDS = [(1, False), (1, True), (2, False), (3, False), (3, True)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(6))
def test_exact_ways_find_the_best_set_and_the_bound_is_not_below(seed, kind):
    problem = problem_of(seed, 11, *kind)
    best = best_value(problem)
    found = best_of_all_sets(problem)
    assert fits(problem, found)
    assert problem.value(found) == pytest.approx(best, abs=1e-12)
    solved, is_proven = best_by_integer_program(problem, None)
    assert is_proven
    assert fits(problem, solved)
    assert problem.value(solved) == pytest.approx(best, abs=1e-6)
    assert upper_bound(problem) >= best - 1e-9


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(6))
def test_the_search_fits_the_counts_and_is_not_below_where_it_started(seed, kind):
    problem = problem_of(seed, 60, *kind)
    start = greedy_set(problem)
    assert fits(problem, start)
    for moves in (0, 1, 50, 3000):
        found = best_set(problem, start, moves, np.random.default_rng(0))
        assert fits(problem, found)
        assert problem.value(found) >= problem.value(start)
    again = best_set(problem, start, 3000, np.random.default_rng(0))
    np.testing.assert_array_equal(again, found)


def test_long_searches_recombine_sets_and_find_more():
    # A plain noise matrix, as in the max-diversity literature.
    rng = np.random.default_rng(3)
    weights = rng.normal(size=(300, 300))
    weights += weights.T
    np.fill_diagonal(weights, 0)
    problem = Problem(weights, np.zeros(300), np.zeros(300, dtype=int), (30,))
    start = greedy_set(problem)
    short = best_set(problem, start, 300, np.random.default_rng(0))
    long = best_set(problem, start, 48_000 + 25 * 12_000, np.random.default_rng(0))
    values = [problem.value(members) for members in (start, short, long)]
    assert values == sorted(values)
    assert values[2] > 1.02 * values[0]


def test_a_search_ends_when_its_time_is_over():
    problem = problem_of(0, 60)
    found = best_set(problem, greedy_set(problem), 10**6, np.random.default_rng(0), 0.05)
    assert fits(problem, found)


def test_the_program_says_when_it_ran_out_of_time():
    problem = problem_of(0, 60, linear=True)
    _, is_proven = best_by_integer_program(
        Problem(problem.weights, problem.linear, problem.categories, (20,)), 1e-3
    )
    assert not is_proven
