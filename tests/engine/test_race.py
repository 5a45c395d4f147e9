"""A race drops what has clearly lost, and next to never what would have won."""

import random

import pytest

from dspex.engine.race import block_size, leading, survivors


@pytest.mark.parametrize(
    ("wins", "losses", "z", "stays"),
    [
        (5, 0, 2.4, True),
        (6, 0, 2.4, False),
        (9, 2, 2.4, True),
        (10, 2, 2.4, True),
        (12, 2, 2.4, False),
        (3, 0, 1.64, False),
    ],
)
def test_a_candidate_is_dropped_where_mcnemars_z_is_reached(wins, losses, z, stays):
    leader = [1.0] * wins + [0.0] * losses + [1.0] * 20
    other = [0.0] * wins + [1.0] * losses + [1.0] * 20
    assert survivors([leader, other], z) == ([0, 1] if stays else [0])
    assert survivors([other, leader], z) == ([0, 1] if stays else [1])
    assert survivors([leader, other], z, keep=2) == [0, 1]


def test_of_equal_candidates_the_earliest_leads_and_all_stay():
    rows = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    assert survivors(rows, 1.0) == [0, 1, 2]
    assert leading(rows, [2, 1]) == 1
    assert leading(rows, [0, 1, 2]) == 0


def test_blocks_are_of_the_datas_size_only():
    assert [block_size(n) for n in (1, 32, 64, 65, 300)] == [8, 8, 8, 10, 10]


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.0, 0.5], ids=["equal skill", "unequal skill"])
def test_the_winner_of_all_is_dropped_in_at_most_2_percent(spread):
    """16 programs on 100 examples of shared difficulty, looked at after each block."""
    rng, runs, lost, saved = random.Random(5), 60, 0, 0
    for _ in range(runs):
        skills, ease = [rng.gauss(0, spread) for _ in range(16)], [rng.gauss(0.3, 1) for _ in range(100)]
        rows = [[float(skill + one + rng.gauss(0, 1) > 0) for one in ease] for skill in skills]
        alive = list(range(16))
        for end in range(10, 101, 10):
            left = survivors([rows[row][:end] for row in alive], 2.4)
            alive = [row for at, row in enumerate(alive) if at in left]
            saved += 10 * (16 - len(alive))
        lost += leading(rows, range(16)) not in alive
    assert lost / runs <= 0.02
    assert saved / (runs * 1_600) > (0.3 if spread else 0.02)
